import { createSync, z } from 'terapi';
import { early } from './cycle-too-early/lib.js';
export const late = { value: early };
export default createSync({ models: { Row: z.object({ id: z.string() }) }, exec: async () => {} });
