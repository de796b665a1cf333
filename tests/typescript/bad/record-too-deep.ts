import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        let deep: any = 1;
        for (let i = 0; i < 80; i += 1) deep = { deep };
        await terapi.batchSave([{ id: '1', deep }], 'Row');   // <-
    }
});
