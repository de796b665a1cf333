import { createSync, z } from 'terapi';
import x from './no-index';   // <-
export default createSync({ models: { Row: z.object({ id: z.string() }) }, exec: async () => x });
