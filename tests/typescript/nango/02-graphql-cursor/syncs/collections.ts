import { createSync } from 'nango';
import type { ProxyConfiguration } from 'nango';
import * as z from 'zod';

const QUERY = `
    query collections($first: Int!, $after: String) {
        collections(first: $first, after: $after, sortKey: ID) {
            nodes { id handle title updatedAt productsCount { count } seo { title description } }
            pageInfo { hasNextPage endCursor }
        }
    }
`;

const CollectionSchema = z.object({
    id: z.string(),
    handle: z.string(),
    title: z.string(),
    updated_at: z.string(),
    products: z.number(),
    seo: z.object({ title: z.string().nullable(), description: z.string().nullable() }).optional()
});

interface CollectionNode {
    id: string;
    handle: string;
    title: string;
    updatedAt: string;
    productsCount?: { count: number };
    seo?: { title: string | null; description: string | null };
}

const sync = createSync({
    description: 'Collections of a shop, by GraphQL',
    version: '1.2.0',
    frequency: 'every day',
    autoStart: false,
    checkpoint: z.object({ cursor: z.string() }),
    models: { Collection: CollectionSchema },
    metadata: z.object({}),

    exec: async (nango) => {
        const checkpoint = await nango.getCheckpoint();
        const cursor = checkpoint?.cursor;

        // Nothing happens here when an earlier run began and did not finish.
        await nango.trackDeletesStart('Collection');

        const config: ProxyConfiguration = {
            endpoint: '/admin/api/2026-07/graphql.json',
            method: 'POST',
            data: {
                query: QUERY,
                variables: cursor ? { first: 50, after: cursor } : { first: 50 }
            },
            paginate: {
                type: 'cursor',
                cursor_path_in_response: 'data.collections.pageInfo.endCursor',
                cursor_name_in_request: 'variables.after',
                response_path: 'data.collections.nodes',
                on_page: async ({ nextPageParam }) => {
                    if (typeof nextPageParam === 'string') {
                        await nango.saveCheckpoint({ cursor: nextPageParam });
                    }
                }
            },
            retries: 3
        };

        for await (const nodes of nango.paginate<CollectionNode>(config)) {
            const collections: z.infer<typeof CollectionSchema>[] = nodes.map((node) => ({
                id: node.id,
                handle: node.handle,
                title: node.title,
                updated_at: node.updatedAt,
                products: node.productsCount?.count ?? 0,
                ...(node.seo && { seo: node.seo })
            }));
            await nango.batchSave(collections, 'Collection');
        }

        await nango.clearCheckpoint();
        await nango.trackDeletesEnd('Collection');
    }
});

export type NangoSyncLocal = Parameters<(typeof sync)['exec']>[0];
export default sync;
