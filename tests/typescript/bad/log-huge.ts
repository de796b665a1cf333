import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        for (let i = 0; i < 100; i += 1) await terapi.log('x'.repeat(1_000_000));
        console.log('y'.repeat(5_000_000));
    }
});
