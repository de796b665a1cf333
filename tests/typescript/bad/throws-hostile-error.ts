import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        const error = new Error('x');
        Object.defineProperty(error, 'message', { get() { throw new Error('message throws'); } });
        Object.defineProperty(error, 'stack', { get() { throw new Error('stack throws'); } });
        Object.defineProperty(error, 'name', { get() { throw error; } });
        (error as any).toString = () => { throw error; };
        throw error;
    }
});
