import { createSync, ProxyConfiguration } from 'nango';
import * as z from 'zod';
import { equal, ok, rejected } from './assert.js';

const sync = createSync({
    description: 'Every way to ask',
    version: '1.0.0',
    frequency: 'every 6min',
    autoStart: false,
    models: { Thing: z.object({ id: z.string() }) },

    exec: async (nango) => {
        // The query: the endpoint's own and `params`, the later wins; what is undefined is left out; lists are joined.
        const query = await nango.get({
            endpoint: '/query?a=1&b=2',
            params: { b: 3, c: undefined as unknown as string, d: ['x', 'y'] as unknown as string, e: true as unknown as string, 'f g': 'ä&=+' }
        });
        equal(query.data, { it: 'is' }, 'query');
        equal(query.status, 200, 'status');
        equal(query.headers['x-mixed-case'], 'Yes', 'header names are in lower case');
        const text = await nango.get({ endpoint: 'query-text', params: 'a=1&b=x%20y' });
        equal(text.data, 'no JSON', 'an answer that is no JSON is text');

        // Answers.
        equal((await nango.get({ endpoint: '/empty' })).data, '', 'an empty answer');
        equal((await nango.get({ endpoint: '/number' })).data, 42, 'JSON is JSON, whatever its type is said to be');
        const bytes = await nango.get<Buffer>({ endpoint: '/bytes', responseType: 'arraybuffer' });
        ok(Buffer.isBuffer(bytes.data), 'bytes are a Buffer');
        equal([...bytes.data], [0, 255, 128, 10], 'bytes');
        equal(bytes.data.toString('base64'), 'AP+ACg==', 'bytes in base64');

        // Bodies.
        const json = { text: 'é', list: [1, null], gone: undefined, when: new Date(0) };
        equal((await nango.post({ endpoint: '/json', data: json })).status, 201, 'a JSON body');
        await nango.put({ endpoint: '/form', headers: { 'content-type': 'application/x-www-form-urlencoded' }, data: { a: 'x y', b: '1&2', n: 3 } });
        await nango.patch({ endpoint: '/text', headers: { 'Content-Type': 'text/plain', 'X-One': '1' }, data: 'as it is' });
        await nango.post({ endpoint: '/raw', headers: { 'Content-Type': 'application/octet-stream' }, data: Buffer.from([1, 2, 254]) });
        await nango.delete({ endpoint: '/with-body', data: { ids: [1, 2] } });
        await nango.delete({ endpoint: '/without-body' });
        await nango.get({ endpoint: '/never-a-body', data: { ignored: true } });

        // proxy, with and without a method.
        const config: ProxyConfiguration = { endpoint: '/proxied', method: 'PUT', data: { a: 1 } };
        equal((await nango.proxy(config)).data, 'put', 'proxy');
        equal((await nango.proxy({ endpoint: '/proxied' })).data, 'got', 'proxy without a method is GET');

        // Another origin, with a path of its own; a slash more or less changes nothing.
        equal((await nango.get({ baseUrlOverride: 'https://other.example/v2', endpoint: '/items' })).data, 'v2', 'baseUrlOverride');
        equal((await nango.get({ baseUrlOverride: 'https://other.example/v2/', endpoint: 'items' })).data, 'v2', 'baseUrlOverride with a slash');

        // Errors.
        const error = await rejected(nango.get({ endpoint: '/missing' }), 'a 404');
        equal(error instanceof Error, true, 'an error is an Error');
        equal(error.response.status, 404, 'error.response.status');
        equal(error.response.data, { code: 'nope' }, 'error.response.data');
        equal(error.response.headers['x-request-id'], 'r1', 'error.response.headers');
        equal(error.status, 404, 'error.status');
        equal(typeof error.code, 'string', 'error.code');
        ok(error.message.includes('404'), 'error.message');
        const plain = await rejected(nango.post({ endpoint: '/plain-error', data: {} }), 'a 400');
        equal(plain.response.data, 'plain', 'the text of an error');

        // Retries: none unless asked for. A recording answers a request once, so it shows those alone that change nothing.
        equal((await rejected(nango.get({ endpoint: '/once-unavailable' }), 'no retry')).response.status, 503, 'no retry by itself');
        equal((await rejected(nango.get({ endpoint: '/conflict', retries: 3 }), 'a 409')).response.status, 409, '409 is not tried again');
        equal((await rejected(nango.get({ endpoint: '/always', retries: 2, retryOn: [423] }), 'always 500')).response.status, 500, 'retries end');

        // At once.
        const all = await Promise.all([1, 2, 3].map((n) => nango.get({ endpoint: `/at-once/${n}` })));
        equal(all.map(({ data }) => data), [1, 2, 3], 'Promise.all');
    }
});

export default sync;
