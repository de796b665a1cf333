import { createAction, ProxyConfiguration } from 'nango';
import * as z from 'zod';
import { tenantId } from '../helpers/tenant-id.js';

const Input = z.object({ noteId: z.string() });
const Output = z.object({ success: z.boolean(), tenant: z.string() });

const action = createAction({
    description: 'Deletes a note',
    version: '1.1.0',
    endpoint: { method: 'DELETE', path: '/notes' },
    input: Input,
    output: Output,
    metadata: z.object({ tenantId: z.string().optional() }),

    exec: async (nango, input) => {
        const { data } = await nango.zodValidateInput({ zodSchema: Input, input });
        const tenant = await tenantId(nango);

        const config: ProxyConfiguration = {
            baseUrlOverride: 'https://api.tallyworks.example/books/2.0',
            endpoint: `Notes/${data.noteId}`,
            headers: {
                'tenant-id': tenant
            },
            retries: 3
        };
        const response = await nango.delete(config);

        return { success: response.status === 204 && response.data === '', tenant };
    }
});

export type NangoActionLocal = Parameters<(typeof action)['exec']>[0];
export default action;
