import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        const c: any = {};
        c.c = c;
        await terapi.post({ endpoint: '/x', data: c });   // <-
    }
});
