import { createSync } from 'nango';
import * as z from 'zod';
export default createSync({
    description: 'x', version: '1.0.0', frequency: 'every hour', autoStart: false,
    models: { Row: z.object({ id: z.string() }) },
    exec: async (nango: any) => {
        await nango.saveCheckpoint({ nested: { a: 1 } });   // <-
    }
});
