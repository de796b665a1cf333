import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        for (const name of Object.getOwnPropertyNames(globalThis)) { try { delete (globalThis as any)[name]; } catch {} }
        await terapi.batchSave([{ id: '1', list: [1, 2], nested: { a: 'b' } }], 'Row');
        await terapi.saveCheckpoint({ at: 'x' });
        await terapi.log('still here', { a: 1 });
    }
});
