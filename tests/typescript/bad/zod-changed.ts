import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        const original = z.string;
        try {
            (z as any).string = () => { throw new Error('replaced'); };
        } catch (error) {
            if (!(error instanceof TypeError)) throw error;
        }
        original().parse('x');
    }
});
