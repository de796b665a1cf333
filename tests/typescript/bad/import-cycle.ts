import { createSync, z } from 'terapi';
import { even } from './import-cycle/even.js';
export const zero = () => 0;
export default createSync({ models: { Row: z.object({ id: z.string() }) }, exec: async () => { if (!even(10) || even(7)) throw new Error('wrong'); } });
