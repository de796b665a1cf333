import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        try {
            throw new Error('x');
        } finally {
            for (;;) await null;
        }
    }
});
