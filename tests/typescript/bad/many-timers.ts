import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        await Promise.all(Array.from({ length: 20_000 }, (_, i) => new Promise((resolve) => setTimeout(resolve, i % 7))));
    }
});
