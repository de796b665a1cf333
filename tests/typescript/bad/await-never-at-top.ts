import { createSync, z } from 'terapi';
await new Promise(() => {});
export default createSync({ models: { Row: z.object({ id: z.string() }) }, exec: async () => {} });
