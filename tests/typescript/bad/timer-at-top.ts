import { createSync, z } from 'terapi';
setTimeout(() => { throw new Error('nobody waits for this'); }, 10_000);
setInterval(() => {}, 1);
export default createSync({ models: { Row: z.object({ id: z.string() }) }, exec: async () => {} });
