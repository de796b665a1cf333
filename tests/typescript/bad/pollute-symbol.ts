import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        Object.defineProperty(Object.prototype, Symbol.toPrimitive, { get() { throw new Error('primitive'); } });
        Object.defineProperty(Object.prototype, Symbol.toStringTag, { value: 'Evil' });
        await terapi.batchSave([{ id: '1', list: [1, 2], nested: { a: 'b' } }], 'Row');
        await terapi.saveCheckpoint({ at: 'x' });
        await terapi.log('still here', { a: 1 });
    }
});
