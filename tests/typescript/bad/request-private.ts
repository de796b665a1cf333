import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        await terapi.get({ baseUrlOverride: 'http://169.254.169.254', endpoint: '/latest/meta-data' });   // <-
    }
});
