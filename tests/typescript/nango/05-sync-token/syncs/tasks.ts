import { createSync } from 'nango';
import * as z from 'zod';
import { fetchChanges, Changes, TokenExpired } from '../helpers/fetch-changes.js';

const Task = z.object({
    id: z.string(),
    title: z.string(),
    done: z.boolean(),
    labels: z.array(z.string()),
    due: z.string().optional()
});

const sync = createSync({
    description: 'Tasks by change tokens',
    version: '1.0.0',
    frequency: 'every 5m',
    autoStart: true,
    models: { Task },
    // An empty string stands for none: a checkpoint is flat and has no null.
    checkpoint: z.object({ syncToken: z.string(), page: z.string() }),

    exec: async (nango) => {
        const stored = await nango.getCheckpoint();
        let syncToken = stored?.syncToken ?? '';
        let page = stored?.page ?? '';
        let restarted = false;

        while (true) {
            let changes: Changes;
            try {
                changes = await fetchChanges(nango, syncToken, page);
            } catch (error) {
                if (!(error instanceof TokenExpired) || restarted) {
                    throw error;
                }
                await nango.log('The token expired: starting again', { token: error.token });
                restarted = true;
                syncToken = '';
                page = '';
                await nango.saveCheckpoint({ syncToken, page });
                continue;
            }

            const upserted = changes.changes.flatMap(({ task_id, kind, task }) =>
                kind === 'upserted' && task
                    ? [{ id: String(task_id), title: task.title, done: task.done, labels: task.labels ?? [], due: task.due?.date }]
                    : []
            );
            const removed = changes.changes.filter((change) => change.kind === 'removed').map((change) => ({ id: String(change.task_id) }));
            await nango.batchSave(upserted, 'Task');
            if (removed.length) {
                await nango.batchDelete(removed, 'Task');
            }

            page = changes.next_page ?? '';
            if (page === '') {
                syncToken = changes.sync_token;
            }
            await nango.saveCheckpoint({ syncToken, page });
            if (page === '') {
                break;
            }
        }
    }
});

export type NangoSyncLocal = Parameters<(typeof sync)['exec']>[0];
export default sync;
