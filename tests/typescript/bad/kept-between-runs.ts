import { createSync, z } from 'terapi';
const state = { runs: 0 };

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        state.runs += 1;
        (globalThis as any).kept = ((globalThis as any).kept ?? 0) + 1;
        if (state.runs !== 1 || (globalThis as any).kept !== 1) throw new Error('a run saw the one before');
    }
});
