import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: 42 } as any,
    exec: async (terapi: any) => {

    }
});
