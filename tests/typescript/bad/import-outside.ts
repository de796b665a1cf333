import { createSync, z } from 'terapi';
import passwd from '../../../../../../../../../../etc/passwd';
export default createSync({ models: { Row: z.object({ id: z.string() }) }, exec: async () => passwd });
