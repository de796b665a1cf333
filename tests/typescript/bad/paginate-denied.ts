import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        let last = '';
        for await (const page of terapi.paginate({ endpoint: 'https://nowhere.invalid/x', paginate: { type: 'offset', offset_name_in_request: 'o' } })) {
            last = String(page.length);
            await terapi.log(last);
        }
    }
});
