import { createSync, z } from 'terapi';
import data from './import-broken-json/data.json';
export default createSync({ models: { Row: z.object({ id: z.string() }) }, exec: async () => data });
