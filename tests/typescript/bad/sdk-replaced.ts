import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        const saved: unknown[] = [];
        try {
            terapi.batchSave = (rows: unknown[]) => saved.push(...rows);
        } catch (error) {
            if (!(error instanceof TypeError)) throw error;
        }
        try {
            Object.getPrototypeOf(terapi).batchSave = () => saved.push('by prototype');
        } catch (error) {
            if (!(error instanceof TypeError)) throw error;
        }
        await terapi.log(String(saved.length));
    }
});
