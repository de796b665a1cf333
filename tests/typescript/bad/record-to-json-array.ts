import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        await terapi.batchSave([{ id: '1', toJSON: () => [1] }], 'Row');   // <-
    }
});
