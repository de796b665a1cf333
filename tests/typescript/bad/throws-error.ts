import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        const issues: any[] = [{}];
        for (const issue of issues) {
            await terapi.batchSave([{ id: issue.number.toString() }], 'Row');   // <-
        }
    }
});
