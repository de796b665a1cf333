import { createAction, ActionError } from 'nango';
import * as z from 'zod';
import { equal, ok, rejected } from './assert.js';

const Input = z.object({ name: z.string(), count: z.number().int().optional() });
const Output = z.object({ greeting: z.string(), token: z.string(), id: z.string() });

const action = createAction({
    description: 'Every call of an action',
    version: '0.0.1',
    endpoint: { method: 'POST', path: '/greetings', group: 'Greetings' },
    input: Input,
    output: Output,
    metadata: z.object({ lang: z.string().optional() }),
    scopes: ['greet'],

    exec: async (nango, input): Promise<z.infer<typeof Output>> => {
        const { data } = await nango.zodValidateInput({ zodSchema: Input, input });
        const wrong = await rejected(nango.zodValidateInput({ zodSchema: Input, input: { name: 1 } } as any), 'wrong input');
        ok(wrong instanceof nango.ActionError, 'wrong input is an ActionError');

        const error = new nango.ActionError({ type: 'x', deep: [{ a: 1 }] });
        ok(error instanceof Error && error instanceof ActionError, 'an ActionError is an Error');

        const connection = await nango.getConnection();
        const token = await nango.getToken();
        equal((connection.credentials as any).access_token, token, 'credentials');
        await nango.updateMetadata({ lang: 'en' });
        equal((await nango.getMetadata()).lang, 'en', 'metadata');

        const response = await nango.proxy<{ id: number }>({ method: 'POST', endpoint: '/greet', data: { to: data.name }, retries: 0 });
        const answer = await nango.uncontrolledFetch({ url: new URL('https://elsewhere.example/ping?x=1'), method: 'GET', headers: { 'x-ping': '1' } });
        ok(answer.ok && answer.status === 200, 'uncontrolledFetch');
        const pong = (await answer.json()) as { pong: boolean };
        equal(pong, { pong: true }, 'its body');
        await nango.log(`greeted ${data.name}`, { level: 'info' });

        return { greeting: `Hello ${data.name}`, token: token as string, id: String(response.data.id), extra: undefined } as any;
    }
});

export default action;
