import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        return { then(resolve: any, reject: any) { reject(new Error('from then')); } };
    }
});
