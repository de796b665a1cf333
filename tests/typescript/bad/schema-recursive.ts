import { createSync, z } from 'terapi';
const Node: any = z.object({ id: z.string(), get children() { return z.array(Node); } });

export default createSync({
    models: { Node },
    exec: async (terapi: any) => {

    }
});
