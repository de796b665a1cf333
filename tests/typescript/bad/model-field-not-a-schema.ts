import { createSync, z } from 'terapi';
export default createSync({ models: { Row: z.object({ id: z.string(), size: 42 as any }) }, exec: async () => {} });
