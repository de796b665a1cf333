import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        (globalThis as any).Error = function () { return 42; };
        (Error as any).prepareStackTrace = () => { throw 'trace'; };
        (Error as any).stackTraceLimit = 1e9;
        await terapi.batchSave([{ id: '1', list: [1, 2], nested: { a: 'b' } }], 'Row');
        await terapi.saveCheckpoint({ at: 'x' });
        await terapi.log('still here', { a: 1 });
    }
});
