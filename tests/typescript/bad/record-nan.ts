import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        await terapi.batchSave([{ id: '1', a: NaN, b: Infinity, c: -0, d: undefined, e: () => 1, f: Symbol('x') }], 'Row');
    }
});
