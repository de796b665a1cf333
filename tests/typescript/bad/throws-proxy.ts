import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        throw new Proxy({}, { get() { throw new Error('no look inside'); }, ownKeys() { throw 1; }, getPrototypeOf() { throw 2; } });
    }
});
