import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        const down = async (n: number): Promise<number> => 1 + (await down(n + 1));
        await down(0);
    }
});
