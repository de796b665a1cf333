import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        const größe = '🎉🎉';  throw new Error('after ' + größe);   // <-
    }
});
