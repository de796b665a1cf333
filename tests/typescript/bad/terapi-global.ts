import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        (globalThis as any).terapi = { batchSave: () => { throw new Error('replaced'); } };
        await terapi.batchSave([{ id: '1' }], 'Row');
    }
});
