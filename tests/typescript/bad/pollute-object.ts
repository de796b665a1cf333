import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        (Object.prototype as any).polluted = 'yes';
        await terapi.batchSave([{ id: '1', list: [1, 2], nested: { a: 'b' } }], 'Row');
        await terapi.saveCheckpoint({ at: 'x' });
        await terapi.log('still here', { a: 1 });
    }
});
