import { createSync, z } from 'terapi';
const table: Record<string, { x: number }> = {};
export const x = table['missing']!.x;   // <-
export default createSync({ models: { Row: z.object({ id: z.string() }) }, exec: async () => {} });
