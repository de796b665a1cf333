import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        JSON.stringify = () => '{"id":"2"}';
        JSON.parse = () => ({ evil: true });
        await terapi.batchSave([{ id: '1', list: [1, 2], nested: { a: 'b' } }], 'Row');
        await terapi.saveCheckpoint({ at: 'x' });
        await terapi.log('still here', { a: 1 });
    }
});
