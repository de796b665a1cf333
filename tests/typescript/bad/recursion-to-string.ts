import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        const a: any[] = [];
        a[0] = { toString: () => `${a[0]}` };
        String(a[0]);
    }
});
