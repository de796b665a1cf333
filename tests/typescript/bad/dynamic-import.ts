import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        const name = 'node:' + 'fs';
        await import(name);
    }
});
