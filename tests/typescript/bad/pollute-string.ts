import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        String.prototype.charCodeAt = () => 0;
        String.prototype.split = () => ['evil'];
        (String.prototype as any).replace = () => 'replaced';
        (String.prototype as any).toString = () => 'x';
        await terapi.batchSave([{ id: '1', list: [1, 2], nested: { a: 'b' } }], 'Row');
        await terapi.saveCheckpoint({ at: 'x' });
        await terapi.log('still here', { a: 1 });
    }
});
