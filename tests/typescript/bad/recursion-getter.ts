import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        const a: any = { get id() { return this.id; } };
        await terapi.batchSave([a], 'Row');
    }
});
