import { createAction } from 'nango';
import * as z from 'zod';

const InputSchema = z.object({
    channel: z.string(),
    text: z.string().min(1),
    mentions: z.array(z.string()).optional(),
    silent: z.boolean().optional()
});

const OutputSchema = z.object({
    ts: z.string(),
    channel: z.string(),
    warnings: z.array(z.string())
});

const action = createAction({
    description: 'Posts a message',
    version: '1.0.0',
    endpoint: { method: 'POST', path: '/messages', group: 'Messages' },
    input: InputSchema,
    output: OutputSchema,
    scopes: ['chat:write'],

    exec: async (nango, input): Promise<z.infer<typeof OutputSchema>> => {
        const form = new URLSearchParams();
        form.set('channel', input.channel);
        form.append('text', input.text);
        for (const mention of input.mentions ?? []) {
            form.append('mention', mention);
        }
        if (input.silent !== undefined) {
            form.append('silent', String(input.silent));
        }

        const response = await nango.post({
            endpoint: 'api/chat.postMessage',
            headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
            data: form.toString(),
            retries: 1
        });

        // The API answers 200 whatever happened.
        if (!response.data?.ok) {
            throw new nango.ActionError({
                type: 'send_failed',
                message: response.data?.error ?? 'unknown error',
                details: response.data?.response_metadata?.messages ?? [],
                status: response.status
            });
        }

        return {
            ts: response.data.ts,
            channel: response.data.channel,
            warnings: response.data.warning ? response.data.warning.split(',') : []
        };
    }
});

export type NangoActionLocal = Parameters<(typeof action)['exec']>[0];
export default action;
