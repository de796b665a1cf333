import { createSync, z } from 'terapi';
import x from 'https://esm.example/x.js';   // <-
export default createSync({ models: { Row: z.object({ id: z.string() }) }, exec: async () => x() });
