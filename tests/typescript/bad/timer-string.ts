import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        setTimeout('globalThis.evil = 1' as any, 0);
        await new Promise((resolve) => setTimeout(resolve, 5));
        if ((globalThis as any).evil) throw new Error('evaluated');
    }
});
