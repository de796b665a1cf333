import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        const row: any = { id: '1' };
        row.self = row;
        await terapi.batchSave([row], 'Row');   // <-
    }
});
