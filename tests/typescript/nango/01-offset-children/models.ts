import * as z from 'zod';

export const Milestone = z.object({
    id: z.string(),
    projectId: z.string(),
    title: z.string(),
    due: z.string().optional(),
    owner: z.string().optional(),
    progress: z.number().optional(),
    updatedAt: z.string()
});
export type Milestone = z.infer<typeof Milestone>;

export interface PlanboardProject {
    id: number;
    name: string;
    milestone_count: number;
    updated_at: string;
    deleted_at: string | null;
}

export interface PlanboardMilestone {
    id: number;
    project_id: number;
    title: string;
    due_on?: string | null;
    owner?: { email: string } | null;
    progress?: number | null;
    updated_at: string;
    deleted_at?: string | null;
}
