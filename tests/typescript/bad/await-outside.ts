import { createSync, z } from 'terapi';
function f() {
    await Promise.resolve(1);   // <-
}
export default createSync({ models: { Row: z.object({ id: z.string() }) }, exec: async () => f() });
