import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        await terapi.batchSave(Array.from({ length: 40 }, (_, i) => ({ id: String(i), text: 'x'.repeat(500_000) })), 'Row');
    }
});
