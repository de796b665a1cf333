// Types come without `type`, and one of them from the script that imports this file.
import { ProxyConfiguration } from 'nango';
import { NangoSyncLocal } from '../syncs/site-lists.js';
import { GraphSite } from '../types.js';

export async function siteIds(nango: NangoSyncLocal): Promise<string[]> {
    const metadata = await nango.getMetadata();
    if (metadata?.siteIds && metadata.siteIds.length > 0) {
        return metadata.siteIds;
    }

    const config: ProxyConfiguration = {
        // https://learn.microsoft.com/en-us/graph/api/site-search
        endpoint: '/v1.0/sites',
        params: { search: '*' },
        retries: 10
    };
    const response = await nango.get<{ value?: GraphSite[] }>(config);
    return (response.data.value ?? []).map((site) => site.id);
}
