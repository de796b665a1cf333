import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        await terapi.batchSave(Array.from({ length: 10_000 }, (_, i) => ({ id: String(i) })), 'Row');
    }
});
