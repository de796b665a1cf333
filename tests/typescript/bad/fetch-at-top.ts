import { createSync, z } from 'terapi';
const answer = await fetch('https://example.com/');   // <-
export default createSync({ models: { Row: z.object({ id: z.string() }) }, exec: async () => { await answer.text(); } });
