import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        await new Promise(() => { const again = () => setTimeout(again, 0); again(); });
    }
});
