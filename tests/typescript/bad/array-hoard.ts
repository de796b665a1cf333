import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        const hoard: unknown[] = [];
        for (;;) hoard.push({ n: hoard.length, text: 'some text ' + hoard.length });
    }
});
