import { createSync, z } from 'terapi';
import { a } from './module-names/a b.js';
import { b } from './module-names/a.b.c.js';
export default createSync({ models: { Row: z.object({ id: z.string() }) }, exec: async () => { if (a + b !== 3) throw new Error('x'); } });
