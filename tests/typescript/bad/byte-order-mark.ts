import { createSync, z } from 'terapi';
const text = 'é 日本 🎉';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        if (text !== 'é 日本 🎉') throw new Error('not as it was written: ' + text);
    }
});
