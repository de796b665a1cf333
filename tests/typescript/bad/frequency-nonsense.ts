import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    frequency: 'whenever',
    exec: async (terapi: any) => {

    }
});
