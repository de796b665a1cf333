import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        const endless: any = { then(resolve: any) { resolve(endless); } };
        await endless;
    }
});
