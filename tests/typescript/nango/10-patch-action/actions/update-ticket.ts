import { createAction } from 'nango';
import * as z from 'zod';
import { UpdateTicketInput, TicketOutput } from '../schema.js';
import { ProviderTicket, toTicket } from '../mappers/to-ticket.js';

const PRIORITY_CODES: Record<string, number> = { low: 1, normal: 2, high: 3 };

const action = createAction({
    description: 'Changes the given fields of a ticket',
    version: '1.0.0',
    endpoint: { method: 'PATCH', path: '/tickets', group: 'Tickets' },
    input: UpdateTicketInput,
    output: TicketOutput,

    exec: async (nango, input): Promise<z.infer<typeof TicketOutput>> => {
        const changes: Record<string, unknown> = {};
        if (input.subject !== undefined) {
            changes['subject'] = input.subject;
        }
        if (input.priority !== undefined) {
            changes['priority'] = PRIORITY_CODES[input.priority];
        }
        if (input.assigneeId !== undefined) {
            // null takes the assignee away
            changes['assignee_id'] = input.assigneeId;
        }
        if (input.dueAt !== undefined) {
            changes['due_at'] = input.dueAt;
        }
        if (Object.keys(changes).length === 0) {
            throw new nango.ActionError({ type: 'invalid_input', message: 'Give at least one field to change' });
        }

        const response = await nango.patch({
            endpoint: `/api/tickets/${encodeURIComponent(input.id)}`,
            data: { ticket: changes },
            retries: 3
        });

        const ticket = ProviderTicket.safeParse(response.data?.ticket);
        if (!ticket.success) {
            throw new nango.ActionError({
                type: 'unexpected_answer',
                message: 'The answer is not a ticket',
                fields: ticket.error.issues.map((issue) => issue.path.join('.'))
            });
        }
        return toTicket(ticket.data);
    }
});

export type NangoActionLocal = Parameters<(typeof action)['exec']>[0];
export default action;
