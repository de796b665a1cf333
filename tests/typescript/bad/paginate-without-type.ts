import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        for await (const page of terapi.paginate({ endpoint: '/x', paginate: { type: 'magic' } as any })) void page;   // <-
    }
});
