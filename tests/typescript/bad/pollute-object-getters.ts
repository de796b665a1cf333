import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        for (const name of ['id', 'data', 'url', 'method', 'value', 'get', 'set', 'then', 'toJSON', 'tag', 'val']) Object.defineProperty(Object.prototype, name, { get() { throw new Error('inherited ' + name); }, set() {}, configurable: true });
        await terapi.batchSave([{ id: '1', list: [1, 2], nested: { a: 'b' } }], 'Row');
        await terapi.saveCheckpoint({ at: 'x' });
        await terapi.log('still here', { a: 1 });
    }
});
