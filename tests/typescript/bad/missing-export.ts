import { createSync, z } from 'terapi';
import { toRow } from './missing-export/lib.js';
export default createSync({ models: { Row: z.object({ id: z.string() }) }, exec: async (terapi: any) => { await terapi.batchSave([toRow(1)], 'Row'); } });
