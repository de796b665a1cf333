import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        (Array.prototype as any)[Symbol.iterator] = function* () { yield 'evil'; };
        Array.prototype.map = () => { throw new Error('map'); };
        Array.prototype.push = () => { throw new Error('push'); };
        Array.prototype.join = () => 'joined';
        await terapi.batchSave([{ id: '1', list: [1, 2], nested: { a: 'b' } }], 'Row');
        await terapi.saveCheckpoint({ at: 'x' });
        await terapi.log('still here', { a: 1 });
    }
});
