import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        setInterval(() => {}, 1);
        await terapi.batchSave([{ id: 'a' }], 'Row');
    }
});
