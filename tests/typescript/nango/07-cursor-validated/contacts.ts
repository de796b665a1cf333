import { createSync } from 'nango';
import * as z from 'zod';

/** What is saved is what the schema makes of a row: unknown fields gone, texts trimmed, defaults filled in. */
const Contact = z.object({
    id: z.string().regex(/^ct_(?!0+$)[0-9a-z]+$/),
    email: z.string().trim().toLowerCase().pipe(z.email()).nullable(),
    name: z.object({ first: z.string().trim().min(1), last: z.string().trim().optional() }),
    tags: z.array(z.string()).default([]),
    score: z.coerce.number().min(0).max(100).optional(),
    custom: z.record(z.string(), z.unknown()).optional(),
    stage: z.enum(['lead', 'customer', 'lost']).catch('lead'),
    updated: z.iso.datetime({ offset: true })
});

const sync = createSync({
    description: 'Contacts, page by page',
    version: '0.3.0',
    frequency: 'every 5 minutes',
    autoStart: true,
    models: { Contact },
    checkpoint: z.object({ cursor: z.string(), pages: z.number(), done: z.boolean() }),

    exec: async (nango) => {
        const checkpoint = await nango.getCheckpoint();
        let pages = checkpoint?.pages ?? 0;

        for await (const page of nango.paginate({
            endpoint: '/crm/v4/contacts?archived=false',
            params: {
                ...(checkpoint && checkpoint.cursor !== '' ? { after: checkpoint.cursor } : {})
            },
            headers: { Accept: 'application/json' },
            paginate: {
                type: 'cursor',
                cursor_name_in_request: 'after',
                cursor_path_in_response: 'paging.next.after',
                limit_name_in_request: 'limit',
                limit: 2,
                response_path: 'results',
                on_page: async ({ nextPageParam, response }) => {
                    pages += 1;
                    await nango.log(`page ${pages}: ${response.data.results.length} contacts`);
                    await nango.saveCheckpoint({ cursor: nextPageParam ? String(nextPageParam) : '', pages, done: !nextPageParam });
                }
            },
            retries: 2
        })) {
            const contacts = z.array(Contact).parse(page);
            await nango.batchSave(contacts, 'Contact');
        }
    }
});

export type NangoSyncLocal = Parameters<(typeof sync)['exec']>[0];
export default sync;
