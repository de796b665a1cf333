import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        /*     */ const a = 1;const b = 2;
        if (a + b !== 3) throw new Error('x');
    }
});
