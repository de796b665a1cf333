import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        const { batchSave, log } = terapi;
        await batchSave([{ id: '1' }], 'Row');
        await log('detached');
    }
});
