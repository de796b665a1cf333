import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        const a = 1;
        const a = 2;
        return a;
    }
});
