import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        const registry = new FinalizationRegistry(() => { throw new Error('finalized'); });
        for (let i = 0; i < 1000; i += 1) registry.register({ i }, i);
        const ref = new WeakRef({});
        ref.deref();
    }
});
