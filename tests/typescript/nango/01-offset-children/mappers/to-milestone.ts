import { Milestone, PlanboardMilestone } from '../models.js';

/** Fields that the API left out, or sent as null, are left out of the record too. */
export function toMilestone(raw: PlanboardMilestone): Milestone {
    return {
        id: raw.id.toString(),
        projectId: String(raw.project_id),
        title: raw.title,
        ...(raw.due_on && { due: raw.due_on }),
        ...(raw.owner?.email && { owner: raw.owner.email }),
        ...(raw.progress != null ? { progress: raw.progress } : {}),
        updatedAt: raw.updated_at
    };
}
