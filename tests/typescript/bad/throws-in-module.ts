import { createSync, z } from 'terapi';
import { map } from './throws-in-module/lib/map.js';
export default createSync({ models: { Row: z.object({ id: z.string() }) }, exec: async (terapi: any) => { await terapi.batchSave([map({})], 'Row'); } });
