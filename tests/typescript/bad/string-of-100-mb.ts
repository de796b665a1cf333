import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        let text = 'x'.repeat(100 * 1024 * 1024);
        await terapi.log(text.length.toString());
    }
});
