import { createSync } from 'nango';
import * as z from 'zod';
import { equal, ok, rejected } from './assert.js';

const Person = z.object({ id: z.string(), name: z.string().optional(), age: z.number().optional(), at: z.string().optional(), tags: z.array(z.string()).optional() });
const Group = z.object({ id: z.string(), size: z.number() });

const sync = createSync({
    description: 'Every call about records and state',
    version: '3.1.4',
    endpoints: [
        { method: 'GET', path: '/people', group: 'Org' },
        { method: 'GET', path: '/groups' }
    ],
    frequency: 'every 1 day',
    autoStart: true,
    syncType: 'incremental',
    scopes: ['people:read', 'groups:read'],
    metadata: z.object({ team: z.string(), size: z.number().optional() }),
    checkpoint: z.object({ at: z.string(), page: z.number(), done: z.boolean() }),
    webhookSubscriptions: ['people.changed'],
    models: { Person, Group },

    onWebhook: async (nango, payload) => {
        await nango.log('never called here', payload);
    },

    exec: async (nango) => {
        // Checkpoints
        equal(await nango.getCheckpoint(), { at: 'a', page: 1, done: false }, 'the checkpoint at the start');
        await nango.saveCheckpoint({ at: '2026-01-01', page: 2, done: false });
        equal(await nango.getCheckpoint(), { at: '2026-01-01', page: 2, done: false }, 'the checkpoint that was saved');
        await nango.clearCheckpoint();
        equal(await nango.getCheckpoint(), null, 'no checkpoint after clearing');

        // Records, through JSON
        await nango.batchSave([{ id: 'old-1', name: 'O1' }, { id: 'old-2', name: 'O2' }, { id: '1', name: 'A' }], 'Person');
        await nango.trackDeletesStart('Person');
        // Open already: nothing happens.
        await nango.trackDeletesStart('Person');
        await nango.batchSave([], 'Person');
        class Named {
            constructor(public id: string, public name: string) {}
            method() {
                return this.name;
            }
        }
        await nango.batchSave([new Named('1', 'Ann') as any, { id: '2', name: undefined, age: 7, at: new Date(0) as any, tags: [] }], 'Person');
        await nango.batchSave([{ id: '3', name: '日本 🎉 \u0000 "\\', age: -0.5e-7 }], 'Person');
        await nango.batchUpdate([{ id: '2', name: 'Bob' }], 'Person');
        await nango.batchDelete([{ id: '3' }], 'Person');
        await nango.batchDelete([], 'Person');

        const found = await nango.getRecordsByIds(['2', '1', 'nobody', '3'], 'Person');
        equal([...found.keys()].sort(), ['1', '2'], 'getRecordsByIds gives what there is');
        equal((found.get('2') as any).name, 'Bob', 'after batchUpdate');
        equal((found.get('2') as any).age, 7, 'batchUpdate merges');

        const { deletedKeys } = await nango.trackDeletesEnd('Person');
        equal([...deletedKeys].sort(), ['old-1', 'old-2'], 'deletedKeys');
        await rejected(nango.trackDeletesEnd('Person'), 'trackDeletesEnd once more');
        await rejected(nango.trackDeletesEnd('Group'), 'trackDeletesEnd without start');

        // Metadata and the connection
        equal(await nango.getMetadata(), { team: 'web' }, 'metadata');
        await nango.updateMetadata({ size: 3 });
        equal(await nango.getMetadata(), { team: 'web', size: 3 }, 'metadata after an update');
        const connection = await nango.getConnection();
        equal(connection.connection_config['subdomain'], 'acme', 'connection_config');
        ok(typeof connection === 'object' && connection.metadata !== undefined, 'the metadata of the connection');

        // Log lines
        await nango.log('plain');
        await nango.log('with a level', { level: 'error' });
        await nango.log('with details', { rows: 3, nested: { a: [1] } });
        await nango.log('with both', { why: 'because' }, { level: 'debug' } as any);

        // The time of the last run
        equal((nango.lastSyncDate as Date | undefined)?.toISOString(), '2026-05-06T07:08:09.000Z', 'lastSyncDate');
    }
});

export default sync;
