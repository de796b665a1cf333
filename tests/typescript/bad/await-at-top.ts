import { createSync, z } from 'terapi';
const value = await Promise.resolve('later');
export default createSync({ models: { Row: z.object({ id: z.string() }) }, exec: async () => { if (value !== 'later') throw new Error('too early'); } });
