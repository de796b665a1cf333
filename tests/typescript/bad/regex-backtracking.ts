import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        /^(a+)+$/.test('a'.repeat(40) + '!');
    }
});
