import { createSync } from 'nango';
import { z } from 'zod';

const Item = z.object({ id: z.string(), n: z.number() });

/** Deletes are tracked by the option alone: what this does not save is gone. */
export default createSync({
    description: 'The options that the other scripts leave out',
    version: '10.20.30',
    frequency: 'every 5 minutes',
    autoStart: true,
    syncType: 'full',
    trackDeletes: true,
    endpoints: [],
    scopes: [],
    metadata: z.void(),
    webhookSubscriptions: [],
    models: { Item, Unused: z.object({ id: z.string() }) },
    exec: async (nango) => {
        const { data } = await nango.get<{ n: number }[]>({ endpoint: '/items' });
        await nango.batchSave(data.map(({ n }) => ({ id: `${n}`, n })), 'Item');
    }
});
