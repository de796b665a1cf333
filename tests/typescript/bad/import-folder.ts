import { createSync, z } from 'terapi';
import x from './missing-export';   // <-
export default createSync({ models: { Row: z.object({ id: z.string() }) }, exec: async () => x });
