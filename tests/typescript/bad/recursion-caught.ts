import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        let caught = 0;
        const down = (n: number): number => 1 + down(n + 1);
        for (let i = 0; i < 3; i += 1) {
            try {
                down(0);
            } catch {
                caught += 1;
            }
        }
        if (caught !== 3) throw new Error('not caught');
    }
});
