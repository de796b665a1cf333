import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        await terapi.batchSave([{ id: 'a', n: 1 }, { id: 'b' }, { id: 'a', n: 2 }], 'Row');
    }
});
