import { ActionError, createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        throw new ActionError({ message: 'from a sync', list: [1] });
    }
});
