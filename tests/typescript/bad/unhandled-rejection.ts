import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        void (async () => { throw new Error('nobody awaits this'); })();
        await terapi.batchSave([{ id: '1' }], 'Row');
    }
});
