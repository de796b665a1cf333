import { createSync, z } from 'terapi';
const logged = (_: any, __?: any) => {};
@logged
class A { @logged method() {} }
new A();

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {

    }
});
