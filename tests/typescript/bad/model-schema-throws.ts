import { createSync, z } from 'terapi';

export default createSync({
    models: { get Row() { throw new Error('no schema'); } } as any,
    exec: async (terapi: any) => {

    }
});
