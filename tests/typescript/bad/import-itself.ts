import { createSync, z } from 'terapi';
import * as me from './import-itself.js';
export const one = 1;
export default createSync({ models: { Row: z.object({ id: z.string() }) }, exec: async () => { if (me.one !== 1) throw new Error('not me'); } });
