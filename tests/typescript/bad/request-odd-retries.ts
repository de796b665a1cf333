import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        await terapi.get({ endpoint: 'https://not-allowed.example/', retries: 1e9, retryOn: ['x', NaN, 99999] as any });
    }
});
