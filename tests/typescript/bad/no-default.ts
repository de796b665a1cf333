import { createSync, z } from 'terapi';
export const sync = createSync({ models: { Row: z.object({ id: z.string() }) }, exec: async () => {} });
