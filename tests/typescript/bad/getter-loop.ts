import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        const endless = { get id() { for (;;) {} } };
        await terapi.batchSave([endless as any], 'Row');
    }
});
