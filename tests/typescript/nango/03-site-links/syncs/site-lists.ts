import { createSync } from 'nango';
import * as z from 'zod';
import { siteIds } from '../helpers/site-ids.js';
import { GraphList } from '../types.js';

const SiteList = z.object({
    id: z.string(),
    siteId: z.string(),
    name: z.string(),
    url: z.string(),
    modifiedAt: z.string(),
    createdBy: z.string().nullable(),
    template: z.string().optional()
});

const sync = createSync({
    description: 'Lists of the chosen sites, or of all',
    version: '2.0.0',
    frequency: 'every 6 hours',
    autoStart: true,
    syncType: 'full',
    models: { SiteList },
    metadata: z.object({ siteIds: z.array(z.string()).optional() }),

    exec: async (nango) => {
        const sites = await siteIds(nango);
        if (sites.length === 0) {
            await nango.log('no site to read', { level: 'warn' });
            return;
        }

        await nango.trackDeletesStart('SiteList');

        for (const siteId of sites) {
            for await (const lists of nango.paginate<GraphList>({
                // https://learn.microsoft.com/en-us/graph/api/list-list
                endpoint: `/v1.0/sites/${encodeURIComponent(siteId)}/lists`,
                params: { $top: 2, $select: 'id,name,displayName,webUrl,lastModifiedDateTime,createdBy,list' },
                paginate: {
                    type: 'link',
                    response_path: 'value',
                    link_path_in_response_body: '@odata.nextLink'
                },
                retries: 10
            })) {
                const visible = lists.filter((list) => !list.list?.hidden);
                await nango.batchSave(
                    visible.map((list) => ({
                        id: list.id,
                        siteId,
                        name: list.displayName || list.name,
                        url: list.webUrl,
                        modifiedAt: list.lastModifiedDateTime,
                        createdBy: list.createdBy?.user?.email ?? null,
                        template: list.list?.template
                    })),
                    'SiteList'
                );
            }
        }

        await nango.trackDeletesEnd('SiteList');
    }
});

export type NangoSyncLocal = Parameters<(typeof sync)['exec']>[0];
export default sync;
