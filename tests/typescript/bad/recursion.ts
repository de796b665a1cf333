import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        const down = (n: number): number => 1 + down(n + 1);
        down(0);
    }
});
