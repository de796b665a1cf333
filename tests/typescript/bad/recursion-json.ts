import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        let deep: any = {};
        for (let i = 0; i < 100_000; i += 1) deep = { deep };
        await terapi.batchSave([{ id: '1', deep }], 'Row');
    }
});
