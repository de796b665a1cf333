import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        const аdmin = 'cyrillic a';
        const text = '‮⁦ // ⁩';
        if (аdmin.length !== 10 || text.length !== 7) throw new Error('changed');
    }
});
