import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        z.object({ id: z.string(), owner: z.object({ email: z.email() }) }).parse({ id: 1, owner: { email: 'x' } });   // <-
    }
});
