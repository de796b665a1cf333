import { createSync, z } from 'terapi';
import { readFileSync } from 'node:fs';   // <-
export default createSync({ models: { Row: z.object({ id: z.string() }) }, exec: async () => readFileSync('/etc/passwd') });
