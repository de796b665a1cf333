import * as z from 'zod';
import { TicketOutput } from '../schema.js';

export const ProviderTicket = z
    .object({
        id: z.union([z.string(), z.number()]),
        subject: z.string(),
        priority: z.literal(1).or(z.literal(2)).or(z.literal(3)),
        assignee: z.object({ id: z.number().int().positive(), email: z.string() }).nullish(),
        due_at: z.string().nullish(),
        tags: z.array(z.string()).optional()
    })
    .passthrough();

const PRIORITIES = { 1: 'low', 2: 'normal', 3: 'high' } as const;

export function toTicket(ticket: z.infer<typeof ProviderTicket>): TicketOutput {
    return {
        id: ticket.id.toString(),
        subject: ticket.subject,
        priority: PRIORITIES[ticket.priority],
        ...(ticket.assignee != null && { assignee: ticket.assignee.email }),
        ...(ticket.due_at != null && { dueAt: ticket.due_at }),
        ...(ticket.tags?.length && { tags: ticket.tags })
    };
}
