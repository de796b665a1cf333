import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        const error = new Error('forged');
        error.stack = 'Error: forged\n    at f (../../../../etc/passwd:1:1)\n    at g (throws-forged-stack.ts:99999999:1)\n    at h (throws-forged-stack.ts:18446744073709551616:-1)\n' + 'x'.repeat(100_000);
        throw error;
    }
});
