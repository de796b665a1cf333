import * as z from 'zod';

export const UpdateTicketInput = z.object({
    id: z.string().describe('Id of the ticket. Example: "INC/2026 7"'),
    subject: z.string().optional(),
    priority: z.enum(['low', 'normal', 'high']).optional(),
    assigneeId: z.number().nullable().optional(),
    dueAt: z.string().optional()
});

export const TicketOutput = z.object({
    id: z.string(),
    subject: z.string(),
    priority: z.enum(['low', 'normal', 'high']),
    assignee: z.string().optional(),
    dueAt: z.string().optional(),
    tags: z.array(z.string()).optional()
});
export type TicketOutput = z.infer<typeof TicketOutput>;
