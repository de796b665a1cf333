import { createSync, ProxyConfiguration } from 'nango';
import * as z from 'zod';
import { Milestone, PlanboardMilestone, PlanboardProject } from '../models.js';
import { toMilestone } from '../mappers/to-milestone.js';

const PAGE_SIZE = 100;

const CheckpointSchema = z.object({
    updatedAfter: z.string()
});

const sync = createSync({
    description: 'Milestones of all projects',
    version: '1.0.0',
    frequency: 'every hour',
    autoStart: true,
    endpoints: [{ method: 'GET', path: '/planboard/milestones', group: 'Milestones' }],
    scopes: ['projects:read'],
    checkpoint: CheckpointSchema,
    models: {
        Milestone
    },
    metadata: z.object({}),

    exec: async (nango) => {
        const checkpoint = await nango.getCheckpoint();
        let newest = checkpoint?.updatedAfter;

        const config: ProxyConfiguration = {
            // https://planboard.example/docs/api#list-projects
            endpoint: '/v2/projects',
            params: {
                sort: 'updated_at',
                ...(newest && { updated_after: newest })
            },
            paginate: {
                type: 'offset',
                offset_name_in_request: 'offset',
                offset_calculation_method: 'by-response-size',
                limit: PAGE_SIZE,
                limit_name_in_request: 'limit',
                response_path: 'projects'
            },
            retries: 10
        };

        for await (const projects of nango.paginate<PlanboardProject>(config)) {
            for (const project of projects) {
                if (project.updated_at && (!newest || project.updated_at > newest)) {
                    newest = project.updated_at;
                }
                if (project.deleted_at || project.milestone_count === 0) {
                    continue;
                }

                // https://planboard.example/docs/api#list-milestones
                const response = await nango.get<{ milestones: PlanboardMilestone[] }>({
                    endpoint: `/v2/projects/${project.id}/milestones`,
                    params: { include_deleted: 'true' },
                    retries: 10
                });
                const milestones = response.data.milestones ?? [];

                const live = milestones.filter((milestone) => !milestone.deleted_at).map(toMilestone);
                const gone = milestones.filter((milestone) => milestone.deleted_at).map(({ id }) => ({ id: String(id) }));

                if (live.length > 0) {
                    await nango.batchSave(live, 'Milestone');
                }
                if (gone.length > 0) {
                    await nango.batchDelete(gone, 'Milestone');
                }
            }
            if (newest) {
                await nango.saveCheckpoint({ updatedAfter: newest });
            }
        }
    }
});

export type NangoSyncLocal = Parameters<(typeof sync)['exec']>[0];
export default sync;
