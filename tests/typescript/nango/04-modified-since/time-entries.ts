import { createSync } from 'nango';
import * as z from 'zod';

const TimeEntrySchema = z.object({
    id: z.string(),
    person: z.string(),
    minutes: z.number().int(),
    billable: z.boolean(),
    note: z.string().nullish(),
    modified_at: z.string()
});
type TimeEntry = z.infer<typeof TimeEntrySchema>;

const ProviderEntry = z.object({
    entryId: z.union([z.string(), z.number()]),
    person: z.object({ login: z.string() }),
    seconds: z.number(),
    billable: z.boolean().optional(),
    note: z.string().nullish(),
    modified: z.string()
});

const CheckpointSchema = z.object({ modified_since: z.string() });

const sync = createSync({
    description: 'Time entries, and since the second run those that were removed',
    version: '1.0.1',
    frequency: 'every half hour',
    autoStart: true,
    syncType: 'incremental',
    endpoints: [{ path: '/time-entries', method: 'GET' }],
    models: { TimeEntry: TimeEntrySchema },
    checkpoint: CheckpointSchema,

    exec: async (nango) => {
        const checkpoint = await nango.getCheckpoint();
        const since = checkpoint?.modified_since;
        let greatest: Date | undefined;

        const pages = nango.paginate({
            endpoint: 'api/v3/time_entries',
            headers: since ? { 'If-Modified-Since': new Date(since).toUTCString() } : {},
            paginate: {
                type: 'offset',
                offset_name_in_request: 'page',
                offset_start_value: 1,
                offset_calculation_method: 'per-page',
                limit_name_in_request: 'per_page',
                limit: 3,
                response_path: 'data.entries'
            },
            retries: 5
        });

        for await (const page of pages) {
            const entries: TimeEntry[] = [];
            for (const raw of page) {
                const entry = ProviderEntry.parse(raw);
                const modified = new Date(entry.modified);
                if (!greatest || modified > greatest) {
                    greatest = modified;
                }
                entries.push({
                    id: `${entry.entryId}`,
                    person: entry.person.login,
                    minutes: Math.round(entry.seconds / 60),
                    billable: entry.billable ?? false,
                    note: entry.note,
                    modified_at: modified.toISOString()
                });
            }
            await nango.batchSave(entries, 'TimeEntry');
        }

        if (since) {
            const response = await nango.get({
                endpoint: 'api/v3/time_entries/deleted',
                params: { since },
                retries: 5
            });
            const deleted = (response.data as { ids: (string | number)[] }).ids.map((id) => ({ id: String(id) }));
            await nango.batchDelete(deleted, 'TimeEntry');
        }

        await nango.saveCheckpoint({ modified_since: (greatest ?? new Date()).toISOString() });
    }
});

export type NangoSyncLocal = Parameters<(typeof sync)['exec']>[0];
export default sync;
