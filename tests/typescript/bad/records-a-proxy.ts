import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        const list = new Proxy([{ id: '1' }], { get(target: any, key) { if (key === 'length') return 2 ** 31; return target[key]; } });
        await terapi.batchSave(list, 'Row');
    }
});
