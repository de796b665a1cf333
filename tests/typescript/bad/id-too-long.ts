import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        await terapi.batchSave([{ id: 'é'.repeat(300) }], 'Row');   // <-
    }
});
