import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        const list = Array.from({ length: 1000 }, (_, i) => i);
        list.sort(() => { list.push(0); return Math.random() - 0.5; });
        list.length = 5;
        await terapi.batchSave(list.map((n) => ({ id: String(n) })), 'Row');
    }
});
