import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        await Promise.all([NaN, -5, Infinity, '3', undefined, 2 ** 40].map((ms: any) => Promise.race([new Promise((resolve) => setTimeout(resolve, ms)), new Promise((resolve) => setTimeout(resolve, 20))])));
    }
});
