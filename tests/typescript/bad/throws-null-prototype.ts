import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        throw Object.assign(Object.create(null), { a: 1 });
    }
});
