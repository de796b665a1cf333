import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        new RegExp('('.repeat(100_000) + 'x' + ')'.repeat(100_000)).test('x');
    }
});
