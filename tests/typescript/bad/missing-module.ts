import { createSync, z } from 'terapi';
import { x } from './nowhere.js';   // <-
export default createSync({ models: { Row: z.object({ id: z.string() }) }, exec: async () => x() });
