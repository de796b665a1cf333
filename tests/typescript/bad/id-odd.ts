import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        await terapi.batchSave(['__proto__', 'constructor', '../../x', 'a\u0000b', ' ', '\u202e', '%00', "'; DROP TABLE records; --"].map((id) => ({ id })), 'Row');
    }
});
