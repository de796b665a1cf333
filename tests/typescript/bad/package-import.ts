import { createSync, z } from 'terapi';
import _ from 'lodash';   // <-
export default createSync({ models: { Row: z.object({ id: z.string() }) }, exec: async () => _.chunk([1], 1) });
