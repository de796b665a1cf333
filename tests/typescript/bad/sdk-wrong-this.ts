import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        await terapi.batchSave.call({ evil: true }, [{ id: '1' }], 'Row');
        await terapi.get.call(null, { endpoint: '/x' });
    }
});
