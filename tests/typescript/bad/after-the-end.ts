import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        setTimeout(() => { void terapi.batchSave([{ id: 'late' }], 'Row'); }, 1);
        void (async () => { for (let i = 0; i < 50; i += 1) await null; await terapi.batchSave([{ id: 'later' }], 'Row'); })();
        await terapi.batchSave([{ id: 'in time' }], 'Row');
    }
});
