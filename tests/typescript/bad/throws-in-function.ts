import { createSync, z } from 'terapi';
async function inner(n: number): Promise<void> {
    type Local = { a: 1 };
    if (n > 0) {
        throw new RangeError('from inner');   // <-
    }
}

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        await inner(1);
    }
});
