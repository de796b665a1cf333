import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: (terapi: any) => {
        terapi.batchSave([{ id: 'a' }], 'Row');
    }
});
