import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string(), when: z.date().or(z.string()), big: z.bigint().optional(), fn: z.any().optional(), t: z.string().transform(Number).optional(), s: z.symbol().optional(), m: z.map(z.string(), z.date()).optional() }) },
    exec: async (terapi: any) => {
        await terapi.batchSave([{ id: '1', when: '2026' }], 'Row');
    }
});
