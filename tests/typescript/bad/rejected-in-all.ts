import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        await Promise.all([Promise.resolve(1), Promise.reject(new Error('one of three')), new Promise(() => {})]);
    }
});
