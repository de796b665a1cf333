import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        const circle: any = { name: 'circle' };
        circle.self = circle;
        throw circle;
    }
});
