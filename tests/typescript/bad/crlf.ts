import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        const text = `a
        b`;
        if (text.replaceAll(' ', '') !== 'a\nb') throw new Error('CRLF in a template is LF');
        throw new Error('crlf');   // <-
    }
});
