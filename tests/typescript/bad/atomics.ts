import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        if (typeof SharedArrayBuffer !== 'undefined' && typeof Atomics !== 'undefined') {
            Atomics.wait(new Int32Array(new SharedArrayBuffer(8)), 0, 0, 1e9);
        }
    }
});
