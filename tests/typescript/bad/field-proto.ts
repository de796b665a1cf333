import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        await terapi.batchSave([JSON.parse('{"id": "1", "__proto__": {"x": 1}, "constructor": {"prototype": {"y": 2}}}')], 'Row');
        if (({} as any).x !== undefined || ({} as any).y !== undefined) throw new Error('polluted');
    }
});
