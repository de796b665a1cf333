import * as sdk from 'terapi';
import { createSync, z } from 'terapi';
export default createSync({ models: { Row: z.object({ id: z.string() }) }, exec: async () => {
    (sdk as any).createSync = () => 'replaced';   // <-
} });
