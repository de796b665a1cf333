import { createSync, type NangoSync, type ProxyConfiguration } from 'nango';
import * as z from 'zod';

enum ReleaseState {
    Draft = 'draft',
    Active = 'active',
    Abandoned = 'abandoned'
}

const MetadataSchema = z.object({
    projects: z.array(z.string()).min(1)
});

const Release = z.object({
    id: z.string(),
    project: z.string(),
    name: z.string(),
    state: z.enum(ReleaseState),
    createdOn: z.string()
});

interface ProviderRelease {
    id: number;
    name: string;
    status: string;
    createdOn: string;
}

const sync = createSync({
    description: 'Releases of the projects that the connection names',
    version: '1.0.0',
    frequency: 'every 1h',
    autoStart: false,
    models: { Release },
    metadata: MetadataSchema,

    exec: async (nango) => {
        const parsed = MetadataSchema.safeParse(await nango.getMetadata());
        if (!parsed.success) {
            throw new Error('Set "projects" in the metadata of the connection: a list with at least one name');
        }

        for (const project of parsed.data.projects) {
            await saveReleases(nango as unknown as NangoSync, project);
        }
    }
});

async function saveReleases(nango: NangoSync, project: string): Promise<void> {
    let continuationToken: string | undefined;
    do {
        const config: ProxyConfiguration = {
            // https://learn.microsoft.com/en-us/rest/api/azure/devops/release/releases/list
            endpoint: `/${encodeURIComponent(project)}/_apis/release/releases`,
            params: {
                'api-version': '7.1',
                $top: '2',
                continuationToken: continuationToken as string
            },
            retries: 10
        };
        const response = await nango.get<{ count: number; value: ProviderRelease[] }>(config);

        const releases = response.data.value.map((release) => ({
            id: `${project}/${release.id}`,
            project,
            name: release.name.trim(),
            state: Object.values(ReleaseState).includes(release.status as ReleaseState) ? (release.status as ReleaseState) : ReleaseState.Draft,
            createdOn: release.createdOn
        }));
        await nango.batchSave(releases, 'Release');

        continuationToken = response.headers['x-ms-continuationtoken'];
    } while (continuationToken);
}

export type NangoSyncLocal = Parameters<(typeof sync)['exec']>[0];
export default sync;
