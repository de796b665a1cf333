import { createSync, z } from 'terapi';
// Generics look like comparisons to a parser of TypeScript.
const a = 1, b = 2, c = 3;
export default createSync({ models: { Row: z.object({ id: z.string() }) }, exec: async () => {
    const f = (x) => x;
    if (f(a < b, c > (1)) !== true) throw new Error('parsed as a type');
} });
