import { createSync, createEverything, z } from 'terapi';
export default createSync({ models: { Row: z.object({ id: z.string() }) }, exec: async () => createEverything() });
