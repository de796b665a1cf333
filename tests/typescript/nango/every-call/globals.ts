import { createAction } from 'nango';
import * as z from 'zod';
import { equal, ok, rejected } from './assert.js';

const hex = (bytes: ArrayBuffer | Uint8Array): string => [...new Uint8Array(bytes as ArrayBuffer)].map((byte) => byte.toString(16).padStart(2, '0')).join('');

export default createAction({
    description: 'Every global',
    version: '1.0.0',
    input: z.object({}),
    output: z.object({ ok: z.boolean() }),
    exec: async () => {
        // URL
        const url = new URL('../c/./d?x=1&y=a%20b#frag', 'https://user:pw@Example.com:8443/a/b/');
        equal(url.href, 'https://user:pw@example.com:8443/a/c/d?x=1&y=a%20b#frag', 'href');
        equal([url.protocol, url.host, url.hostname, url.port, url.pathname, url.search, url.hash, url.origin, url.username, url.password], ['https:', 'example.com:8443', 'example.com', '8443', '/a/c/d', '?x=1&y=a%20b', '#frag', 'https://example.com:8443', 'user', 'pw'], 'the parts of a URL');
        url.searchParams.append('z', 'ü &');
        equal(url.search, '?x=1&y=a+b&z=%C3%BC+%26', 'searchParams of a URL');
        url.pathname = '/new path';
        url.search = '';
        url.hash = '';
        equal(`${url}`, 'https://user:pw@example.com:8443/new%20path', 'setters');
        equal(JSON.stringify({ url: new URL('https://e.example') }), '{"url":"https://e.example/"}', 'a URL as JSON');
        equal(new URL('https://e.example:443/%7Ea/').href, 'https://e.example/%7Ea/', 'a default port');
        equal((await rejected(Promise.resolve().then(() => new URL('no url')), 'no URL')) instanceof TypeError, true, 'no URL is a TypeError');
        equal([URL.canParse('/x'), URL.canParse('/x', 'https://e.example')], [false, true], 'canParse');

        // URLSearchParams
        const params = new URLSearchParams({ a: '1', b: 'x y' });
        params.append('a', '2');
        params.set('c', 'é');
        params.delete('b');
        equal(params.toString(), 'a=1&a=2&c=%C3%A9', 'URLSearchParams');
        equal([params.get('a'), params.getAll('a'), params.has('b'), params.get('none')], ['1', ['1', '2'], false, null], 'get');
        equal([...new URLSearchParams('?q=a+b&q=%26&flag')], [['q', 'a b'], ['q', '&'], ['flag', '']], 'parsing');
        equal(new URLSearchParams([['k', 'v'], ['j', '*~!']]).toString(), 'k=v&j=*%7E%21', 'pairs');
        equal(Object.fromEntries(params), { a: '2', c: 'é' }, 'entries');
        params.sort();
        params.forEach((value, key) => ok(typeof value === 'string' && key.length === 1, 'forEach'));

        // Text
        equal([...new TextEncoder().encode('é€😀')], [195, 169, 226, 130, 172, 240, 159, 152, 128], 'TextEncoder');
        equal(new TextDecoder().decode(new Uint8Array([195, 169, 255])), 'é\ufffd', 'TextDecoder');
        equal(new TextDecoder('utf-8').decode(new Uint8Array([0xef, 0xbb, 0xbf, 0x41])), 'A', 'a byte order mark');
        equal([btoa('hi\u00ff'), atob('aGn/')], ['aGn/', 'hi\u00ff'], 'btoa and atob');
        equal([encodeURIComponent("a b/ü'()"), decodeURIComponent('%F0%9F%98%80'), encodeURI('/a b?c=ü')], ["a%20b%2F%C3%BC'()", '😀', '/a%20b?c=%C3%BC'], 'URI functions');

        // Buffer
        equal(Buffer.from('héllo').toString('base64'), 'aMOpbGxv', 'base64');
        equal(Buffer.from('aMOpbGxv', 'base64').toString('utf8'), 'héllo', 'from base64');
        equal(Buffer.from('héllo', 'utf-8').toString('hex'), '68c3a96c6c6f', 'hex');
        equal(Buffer.from('68c3a9', 'hex').toString(), 'hé', 'from hex');
        equal(Buffer.from([251, 255, 191]).toString('base64url'), '-_-_', 'base64url');
        equal([...Buffer.from('-_-_', 'base64url')], [251, 255, 191], 'from base64url');
        equal(Buffer.from('\u00e9A', 'latin1').length, 2, 'latin1');
        equal(Buffer.concat([Buffer.from('a'), new Uint8Array([98]), Buffer.from('c')]).toString(), 'abc', 'concat');
        equal([Buffer.byteLength('é'), Buffer.isBuffer(Buffer.alloc(2)), Buffer.isBuffer(new Uint8Array(1)), Buffer.alloc(2).length], [2, true, false, 2], 'byteLength, isBuffer, alloc');
        equal(JSON.stringify(Buffer.from([1, 2])), '{"type":"Buffer","data":[1,2]}', 'a Buffer as JSON');
        equal(Buffer.from('abcdef').subarray(1, 3).toString(), 'bc', 'subarray');
        ok(Buffer.from('a').equals(Buffer.from('a')) && Buffer.from('a') instanceof Uint8Array, 'equals');
        equal(`Basic ${Buffer.from(`${'user'}:${'pass'}`).toString('base64')}`, 'Basic dXNlcjpwYXNz', 'an authorization header');

        // Timers
        const order: string[] = [];
        const timer = setTimeout(() => order.push('never'), 1);
        clearTimeout(timer);
        await new Promise<void>((resolve) => {
            setTimeout(() => { order.push('20'); resolve(); }, 20);
            setTimeout((name: string) => order.push(name), 5, '5');
            queueMicrotask(() => order.push('microtask'));
            order.push('now');
        });
        equal(order, ['now', 'microtask', '5', '20'], 'timers');
        let ticks = 0;
        await new Promise<void>((resolve) => {
            const interval = setInterval(() => {
                ticks += 1;
                if (ticks === 3) {
                    clearInterval(interval);
                    resolve();
                }
            }, 1);
        });
        equal(ticks, 3, 'setInterval');

        // crypto
        const anyCrypto = crypto as any;
        ok(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(crypto.randomUUID()), 'randomUUID');
        ok(crypto.randomUUID() !== crypto.randomUUID(), 'randomUUID differs');
        equal(crypto.getRandomValues(new Uint8Array(8)).length, 8, 'getRandomValues');
        equal(hex(await crypto.subtle.digest('SHA-256', new TextEncoder().encode('abc'))), 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad', 'subtle.digest');
        if (anyCrypto.createHash) {
            equal(anyCrypto.createHash('sha1').update('abc').digest('hex'), 'a9993e364706816aba3e25717850c26c9cd0d89d', 'createHash on the global');
        }

        // structuredClone
        const original = { date: new Date(5), map: new Map([['a', { b: 1 }]]), list: [1, undefined], self: undefined as unknown };
        original.self = original;
        const clone = structuredClone(original);
        ok(clone !== original && clone.self === clone && clone.date.getTime() === 5 && clone.map.get('a')!.b === 1 && clone.map.get('a') !== original.map.get('a'), 'structuredClone');

        // AbortController
        const controller = new AbortController();
        let aborted = 0;
        controller.signal.addEventListener('abort', () => { aborted += 1; });
        controller.abort();
        controller.abort();
        equal([controller.signal.aborted, aborted], [true, 1], 'AbortController');

        // Reflect, BigInt, Date, Proxy, WeakMap, Symbol
        equal(Reflect.ownKeys({ a: 1, [Symbol.iterator]: 2 }).length, 2, 'Reflect.ownKeys');
        ok(Reflect.has({ a: 1 }, 'a') && Reflect.get({ a: 1 }, 'a') === 1, 'Reflect');
        equal((BigInt('9007199254740993') + 2n).toString(), '9007199254740995', 'BigInt');
        equal(new Date('2026-02-28T23:00:00-02:00').toISOString(), '2026-03-01T01:00:00.000Z', 'Date');
        equal(new Date(Date.UTC(2026, 0, 31, 1, 2, 3)).toUTCString(), 'Sat, 31 Jan 2026 01:02:03 GMT', 'toUTCString');
        ok(Number.isNaN(new Date('no date').getTime()), 'an invalid date');
        equal(new Date('Fri, 03 Apr 2026 06:00:00 GMT').getTime(), Date.parse('2026-04-03T06:00:00Z'), 'an HTTP date');
        ok(Math.abs(Date.now() - new Date().getTime()) < 60_000 && Date.now() > 1_700_000_000_000, 'the clock');
        const proxy = new Proxy({} as Record<string, string>, { get: (_, name) => String(name) });
        equal(proxy['x'], 'x', 'Proxy');

        // console goes to the log
        console.log('a line', { a: 1 }, [2]);
        console.warn('warned');
        console.error(new Error('shown'));
        console.debug('debugged');
        console.info('informed');
        return { ok: true };
    }
});
