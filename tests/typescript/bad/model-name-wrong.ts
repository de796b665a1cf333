import { createSync, z } from 'terapi';

export default createSync({
    models: { 'Row with spaces/..': z.object({ id: z.string() }) },
    exec: async (terapi: any) => {

    }
});
