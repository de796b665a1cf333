// What the engine adds to JavaScript's own: each assertion holds in Node 20 as well, where it was checked.
import { createAction } from 'terapi';
import nodeCrypto, { createHash as namedHash } from 'node:crypto';
import { Buffer as NodeBuffer } from 'buffer';
import { URL as NodeURL } from 'url';

let passed = 0;
let failed: string[] = [];

function same(what: string, is: unknown, should: unknown) {
    const [a, b] = [JSON.stringify(is), JSON.stringify(should)];
    if (a === b) passed++;
    else failed.push(`${what}: ${a} rather than ${b}`);
}

function throws(what: string, run: () => unknown, name?: string) {
    try {
        run();
        failed.push(`${what}: nothing was thrown`);
    } catch (error) {
        if (name === undefined || (error as Error).name === name) passed++;
        else failed.push(`${what}: ${(error as Error).name} rather than ${name}`);
    }
}

const hex = (bytes: ArrayBuffer | Uint8Array) => Buffer.from(bytes as any).toString('hex');

function urls() {
    const url = new URL('https://user:pa%20ss@ex%41mple.com:8443/a/../b c?x=1&y=%C3%A9#frag');
    same('href', url.href, 'https://user:pa%20ss@example.com:8443/b%20c?x=1&y=%C3%A9#frag');
    same('parts', [url.protocol, url.username, url.password, url.host, url.hostname, url.port, url.pathname, url.search, url.hash, url.origin], [
        'https:', 'user', 'pa%20ss', 'example.com:8443', 'example.com', '8443', '/b%20c', '?x=1&y=%C3%A9', '#frag', 'https://example.com:8443',
    ]);
    same('a relative URL', new URL('../x?y#z', 'https://h.test/a/b/c').href, 'https://h.test/a/x?y#z');
    same('a default port goes', new URL('https://h.test:443/').port, '');
    same('international names', new URL('https://bücher.example/ü').href, 'https://xn--bcher-kva.example/%C3%BC');
    throws('no URL', () => new URL('/a'), 'TypeError');
    throws('a bad port', () => new URL('http://h:99999/'), 'TypeError');
    same('canParse', [URL.canParse('http://a'), URL.canParse('x'), URL.canParse('x', 'http://a')], [true, false, true]);
    url.searchParams.append('z', 'a b&c');
    same('parameters change the URL', url.search, '?x=1&y=%C3%A9&z=a+b%26c');
    url.search = '?q=2';
    same('the URL changes the parameters', [...url.searchParams], [['q', '2']]);
    url.pathname = '/new path';
    url.hash = 'h';
    url.port = '1';
    url.protocol = 'http';
    url.hostname = 'other.test';
    same('setters', url.toString(), 'http://user:pa%20ss@other.test:1/new%20path?q=2#h');
    same('JSON of a URL', JSON.stringify({ url }), '{"url":"http://user:pa%20ss@other.test:1/new%20path?q=2#h"}');
    const copy = new URL(url as any);
    copy.searchParams.delete('q');
    same('a query that is gone', copy.href, 'http://user:pa%20ss@other.test:1/new%20path#h');
    same('the modules have it', NodeURL === URL, true);
}

function parameters() {
    const params = new URLSearchParams('?a=1&b=2&a=3&c&d=%20+x');
    same('get', [params.get('a'), params.get('c'), params.get('d'), params.get('no')], ['1', '', '  x', null]);
    same('getAll', params.getAll('a'), ['1', '3']);
    params.set('a', '9');
    params.append('ü', 'ß~*-._ !\'()');
    params.delete('b');
    same('toString', params.toString(), 'a=9&c=&d=++x&%C3%BC=%C3%9F%7E*-._+%21%27%28%29');
    same('of an object', new URLSearchParams({ a: '1', b: 'x y' }).toString(), 'a=1&b=x+y');
    same('of numbers', new URLSearchParams({ a: 1 } as any).toString(), 'a=1');
    same('of pairs', new URLSearchParams([['a', '1'], ['a', '2']]).toString(), 'a=1&a=2');
    const sorted = new URLSearchParams('z=1&a=2&z=0');
    sorted.sort();
    same('sort', sorted.toString(), 'a=2&z=1&z=0');
    same('has', [sorted.has('z'), sorted.has('z', '0'), sorted.has('z', '5'), sorted.size], [true, true, false, 3]);
    same('iteration', [[...sorted.keys()], [...sorted.values()], [...sorted.entries()].length], [['a', 'z', 'z'], ['2', '1', '0'], 3]);
    same('as an object', Object.fromEntries(new URLSearchParams('a=1&b=2')), { a: '1', b: '2' });
    let seen = '';
    sorted.forEach((value, name) => (seen += name + value));
    same('forEach', seen, 'a2z1z0');
    same('a lone surrogate', new URLSearchParams({ a: '\ud800' }).toString(), 'a=%EF%BF%BD');
}

function text() {
    const bytes = new TextEncoder().encode('aé€😀');
    same('utf-8', Array.from(bytes), [97, 195, 169, 226, 130, 172, 240, 159, 152, 128]);
    same('and back', new TextDecoder().decode(bytes), 'aé€😀');
    same('a lone surrogate', Array.from(new TextEncoder().encode('\ud83d')), [239, 191, 189]);
    same('invalid bytes', new TextDecoder().decode(new Uint8Array([97, 255, 98])), 'a\ufffdb');
    throws('fatal', () => new TextDecoder('utf-8', { fatal: true }).decode(new Uint8Array([255])), 'TypeError');
    same('a byte order mark', new TextDecoder().decode(new Uint8Array([239, 187, 191, 97])), 'a');
    const stream = new TextDecoder();
    let whole = '';
    for (const byte of bytes) whole += stream.decode(new Uint8Array([byte]), { stream: true });
    same('byte by byte', whole + stream.decode(), 'aé€😀');
    same('utf-16le', new TextDecoder('utf-16le').decode(new Uint8Array([97, 0, 61, 216, 0, 222])), 'a😀');
    same('latin1', new TextDecoder('latin1').decode(new Uint8Array([0xe9, 0x41])), 'éA');
    throws('an encoding that is none', () => new TextDecoder('klingon'), 'RangeError');
    same('encodeInto', new TextEncoder().encodeInto('é€', new Uint8Array(4)), { read: 1, written: 2 });
    same('btoa', [btoa(''), btoa('a'), btoa('hello'), btoa('\xff\x00')], ['', 'YQ==', 'aGVsbG8=', '/wA=']);
    same('atob', [atob('YQ=='), atob('YQ'), atob(' aGVs bG8= '), atob('/wA=')], ['a', 'a', 'hello', '\xff\x00']);
    throws('btoa past latin1', () => btoa('€'), 'InvalidCharacterError');
    throws('atob of anything', () => atob('a'), 'InvalidCharacterError');
    throws('atob of other letters', () => atob('a-_b'), 'InvalidCharacterError');
}

function buffers() {
    const buffer = Buffer.from('héllo wörld');
    same('encodings', ['utf8', 'hex', 'base64', 'base64url', 'latin1', 'ascii'].map((name) => buffer.toString(name as BufferEncoding)), [
        'héllo wörld', '68c3a96c6c6f2077c3b6726c64', 'aMOpbGxvIHfDtnJsZA==', 'aMOpbGxvIHfDtnJsZA', 'hÃ©llo wÃ¶rld', 'hC)llo wC6rld',
    ]);
    same('utf16le', Buffer.from([97, 0, 172, 32, 9]).toString('utf16le'), 'a€');
    same('from hex', Array.from(Buffer.from('00ff7fzz', 'hex')), [0, 255, 127]);
    same('from base64', [Buffer.from('aGk=', 'base64').toString(), Buffer.from('aGk', 'base64').toString(), Buffer.from('_-8', 'base64').toString('hex'), Buffer.from('a G\nk=!', 'base64').toString()], ['hi', 'hi', 'ffef', 'hi']);
    same('from base64url', Buffer.from('_-8', 'base64url').toString('base64'), '/+8=');
    same('from latin1', Buffer.from('é€', 'latin1').toString('hex'), 'e9ac');
    same('from utf16le', Buffer.from('a€', 'utf16le').toString('hex'), '6100ac20');
    same('from an array', Buffer.from([1, 256, -1]).toString('hex'), '0100ff');
    const shared = new Uint8Array([1, 2, 3]);
    const over = Buffer.from(shared.buffer);
    shared[0] = 9;
    same('over an ArrayBuffer', over[0], 9);
    same('a copy of a view', Buffer.from(shared).equals(Buffer.from([9, 2, 3])), true);
    same('concat', Buffer.concat([Buffer.from('a'), Buffer.from('bc')]).toString(), 'abc');
    same('concat with a length', Buffer.concat([Buffer.from('abc')], 2).toString(), 'ab');
    same('alloc', [Buffer.alloc(3).toString('hex'), Buffer.alloc(3, 'ab').toString(), Buffer.alloc(2, 1).toString('hex')], ['000000', 'aba', '0101']);
    same('byteLength', [Buffer.byteLength('é'), Buffer.byteLength('aGk=', 'base64'), Buffer.byteLength(new Uint8Array(3))], [2, 2, 3]);
    same('isBuffer', [Buffer.isBuffer(buffer), Buffer.isBuffer(new Uint8Array(1)), buffer instanceof Uint8Array], [true, false, true]);
    same('JSON', JSON.stringify(Buffer.from('ab')), '{"type":"Buffer","data":[97,98]}');
    same('from its JSON', Buffer.from(JSON.parse('{"type":"Buffer","data":[97,98]}')).toString(), 'ab');
    same('slices share', (() => { const b = Buffer.from('abc'); b.subarray(1)[0] = 120; return b.toString(); })(), 'axc');
    same('slice of a slice', buffer.subarray(3, 8).slice(1, 3).toString(), 'lo');
    same('toString of a part', buffer.toString('utf8', 0, 3), 'hé');
    same('indexOf', [buffer.indexOf('llo'), buffer.indexOf(0x77), buffer.includes('nope')], [3, 7, false]);
    same('compare', [Buffer.compare(Buffer.from('a'), Buffer.from('b')), Buffer.from('b').compare(Buffer.from('a')), Buffer.from('a').equals(Buffer.from('a'))], [-1, 1, true]);
    const numbers = Buffer.alloc(14);
    numbers.writeUInt16BE(258, 0);
    numbers.writeInt32LE(-2, 2);
    numbers.writeDoubleBE(1.5, 6);
    same('numbers', [numbers.toString('hex'), numbers.readUInt16BE(0), numbers.readInt32LE(2), numbers.readDoubleBE(6)], ['0102feffffff3ff8000000000000', 258, -2, 1.5]);
    same('write', (() => { const b = Buffer.alloc(4); return [b.write('héé'), b.toString('hex')]; })(), [3, '68c3a900']);
    same('the modules have it', NodeBuffer === Buffer, true);
    throws('an encoding that is none', () => Buffer.from('a', 'klingon' as BufferEncoding), 'TypeError');
}

async function hashes() {
    const { createHash, createHmac } = nodeCrypto;
    same('md5', createHash('md5').update('a').update(Buffer.from('bc')).digest('hex'), '900150983cd24fb0d6963f7d28e17f72');
    same('sha1', namedHash('sha1').update('abc').digest('base64'), 'qZk+NkcGgWq6PiVxeFDCbJzQ2J0=');
    same('sha256', createHash('sha256').update('').digest('hex'), 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
    same('sha512', createHash('SHA512').update('abc').digest('base64url'), '3a81oZNherrMQXNJriBBMRLm-k6JqX6iCp7u5ktV05ohkpkqJ0_BqDa6PCOj_uu9RU1EI2Q86A4qmslPpUyknw');
    same('hmac', createHmac('sha256', 'key').update('data').digest('hex'), '5031fe3d989c6d1537a013fa6e739da23463fdaec3b70137d828e36ace221bd0');
    same('hmac of bytes', createHmac('sha1', Buffer.from('00', 'hex')).update('a').digest().length, 20);
    throws('a hash that is none', () => createHash('sha0'));
    throws('twice', () => { const hash = createHash('md5'); hash.digest(); hash.digest(); });
    same('subtle', hex(await crypto.subtle.digest('SHA-256', new TextEncoder().encode('abc'))), 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
    const key = await crypto.subtle.importKey('raw', new TextEncoder().encode('key'), { name: 'HMAC', hash: 'SHA-256' }, false, ['sign', 'verify']);
    const signature = await crypto.subtle.sign('HMAC', key, new TextEncoder().encode('data'));
    same('subtle hmac', hex(signature), '5031fe3d989c6d1537a013fa6e739da23463fdaec3b70137d828e36ace221bd0');
    same('verify', await crypto.subtle.verify('HMAC', key, signature, new TextEncoder().encode('data')), true);
    same('randomUUID', /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(crypto.randomUUID()) && crypto.randomUUID() !== crypto.randomUUID(), true);
    const random = crypto.getRandomValues(new Uint32Array(8));
    same('getRandomValues', random.some((number) => number !== 0), true);
    same('randomBytes', [nodeCrypto.randomBytes(5).length, Buffer.isBuffer(nodeCrypto.randomBytes(1))], [5, true]);
    same('timingSafeEqual', nodeCrypto.timingSafeEqual(Buffer.from('a'), Buffer.from('a')), true);
}

async function time() {
    const order: string[] = [];
    const done = new Promise<void>((resolve) => {
        setTimeout(() => order.push('20'), 20);
        setTimeout(() => order.push('0'), 0);
        setTimeout((a: string, b: string) => order.push(a + b), 5, 'fi', 've');
        const cleared = setTimeout(() => order.push('never'), 1);
        clearTimeout(cleared);
        queueMicrotask(() => order.push('micro'));
        Promise.resolve().then(() => order.push('then'));
        let ticks = 0;
        const interval = setInterval(() => {
            if (++ticks === 3) {
                clearInterval(interval);
                order.push('three');
            }
        }, 8);
        setTimeout(resolve, 60);
    });
    order.push('now');
    await done;
    same('order', order.filter((word) => word !== '20' && word !== 'three'), ['now', 'micro', 'then', '0', 'five']);
    same('all of it', order.includes('20') && order.includes('three'), true);
    clearTimeout(undefined);
    const start = Date.now();
    await new Promise((resolve) => setTimeout(resolve, 30));
    same('not early', Date.now() - start >= 29 && Date.now() > 1_700_000_000_000, true);
    same('performance', performance.now() > 0 && performance.now() >= performance.now() - 1, true);
    same('Math.random', new Set(Array.from({ length: 50 }, () => Math.random())).size, 50);
}

async function aborting() {
    const controller = new AbortController();
    let heard = 0;
    controller.signal.addEventListener('abort', () => heard++);
    controller.abort();
    controller.abort();
    same('abort', [heard, controller.signal.aborted, controller.signal.reason.name], [1, true, 'AbortError']);
    throws('throwIfAborted', () => controller.signal.throwIfAborted(), 'AbortError');
    same('a reason', AbortSignal.abort('why').reason, 'why');
    const signal = AbortSignal.timeout(5);
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
    same('timeout', signal.reason.name, 'TimeoutError');
    same('any', AbortSignal.any([new AbortController().signal, AbortSignal.abort(1)]).reason, 1);
    const late = await fetch('https://unreachable.invalid/', { signal: AbortSignal.abort(new Error('mine')) }).catch((error) => error.message);
    same('an aborted fetch', late, 'mine');
}

function clones() {
    const cyclic: any = { date: new Date(0), map: new Map([[{ a: 1 }, new Set([1])]]), list: [1, , 3], big: 10n, none: undefined, text: /a/gi };
    cyclic.self = cyclic;
    const copy = structuredClone(cyclic);
    same('a cycle', copy.self === copy && copy !== cyclic, true);
    same('its parts', [copy.date instanceof Date, copy.date.getTime(), [...copy.map.keys()][0].a, copy.list.length, 1 in copy.list, String(copy.big), 'none' in copy, String(copy.text)], [true, 0, 1, 3, false, '10', true, '/a/gi']);
    same('bytes', Array.from(structuredClone(new Uint8Array([1, 2]))), [1, 2]);
    const error = structuredClone(new RangeError('x'));
    same('an error', [error instanceof RangeError, error.message], [true, 'x']);
    throws('a function', () => structuredClone(() => 1), 'DataCloneError');
    class Point { x = 1; get y() { return 2; } }
    same('a class instance', structuredClone(new Point()), { x: 1 });
}

async function answers() {
    const headers = new Headers({ 'X-B': ' 2 ', a: '1' });
    headers.append('x-b', '3');
    same('headers', [...headers], [['a', '1'], ['x-b', '2, 3']]);
    same('by any case', [headers.get('X-b'), headers.has('A'), headers.get('none')], ['2, 3', true, null]);
    throws('a name that is none', () => new Headers({ 'a b': '1' }), 'TypeError');
    const response = new Response('{"a":1}', { status: 201, headers: { 'content-type': 'application/json' } });
    same('a response', [response.ok, response.status, await response.clone().json(), await response.text(), response.bodyUsed], [true, 201, { a: 1 }, '{"a":1}', true]);
    same('read twice', await response.text().catch((error) => error.name), 'TypeError');
    same('Response.json', [await Response.json({ b: 1 }).json(), Response.json(1).headers.get('content-type')], [{ b: 1 }, 'application/json']);
    const request = new Request('https://h.test/a', { method: 'post', body: new URLSearchParams({ a: 'b c' }) });
    same('a request', [request.method, request.url, request.headers.get('content-type'), await request.text()], ['POST', 'https://h.test/a', 'application/x-www-form-urlencoded;charset=UTF-8', 'a=b+c']);
    throws('a GET with a body', () => new Request('https://h.test', { body: 'a' }), 'TypeError');
    same('bytes', hex(await new Response(new Uint8Array([1, 255])).arrayBuffer()), '01ff');
}

function json() {
    const read = (text: string) => JSON.parse(text);
    same('numbers', read('[0,-1,1e2,123456789012,0.1,-0.5e-7,1E+3,9007199254740993,2147483648,-2147483649,999999999]'), [0, -1, 100, 123456789012, 0.1, -5e-8, 1000, 9007199254740992, 2147483648, -2147483649, 999999999]);
    same('minus zero', [Object.is(read('-0'), -0), Object.is(read('-0.0'), -0), Object.is(read('[-0]')[0], -0), Object.is(read('0'), 0)], [true, true, true, true]);
    same('escapes', read('"\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\u2014\\ud83d\\ude00x"'), '"\\/\b\f\n\r\té\u2014😀x');
    same('surrogates', [...read('"\\ud83d"+'.slice(0, -1)), ...read('"a\\ude00\\ud83db"')].map((unit: string) => unit.charCodeAt(0)), [0xd83d, 97, 0xde00, 0xd83d, 98]);
    same('texts', read('["","é","日本","😀","ÿ","a\u2028b"]'), ['', 'é', '日本', '😀', 'ÿ', 'a\u2028b']);
    same('white space', read(' \t\r\n{ "a" :\n[ 1 , { } , [ ] ] } '), { a: [1, {}, []] });
    same('fields', [Object.keys(read('{"b":1,"2":1,"a":1,"1":1,"b":2}')), read('{"a":1,"a":{"x":2}}')], [['1', '2', 'b', 'a'], { a: { x: 2 } }]);
    const proto = read('{"__proto__":{"x":1},"constructor":2,"toString":3}');
    same('__proto__', [Object.keys(proto), Object.getPrototypeOf(proto) === Object.prototype, proto.x], [['__proto__', 'constructor', 'toString'], true, undefined]);
    same('names with escapes', read('{"a\\n":1,"\\u0062":2,"é":3}'), { 'a\n': 1, b: 2, é: 3 });
    same('many names', Object.keys(read(`[${Array.from({ length: 700 }, (_, i) => `{"name${i}":${i},"n${i}me":1}`).join()}]`).reduce((all: any, one: any) => Object.assign(all, one), {})).length, 1400);
    for (const bad of ['', ' ', '{', '[1,]', '{"a":1,}', '{a:1}', "'a'", '01', '1.', '.5', '+1', '-', '1e', '[1 2]', '{"a" 1}', '"\\x41"', '"\\u12"', '"a\nb"', '"a\u0000"', 'tru', 'nulll', '[]]', '"a', 'NaN', 'undefined', '\ufeff1', '1\u00a0']) {
        throws(`JSON that is none: ${bad}`, () => read(bad), 'SyntaxError');
    }
    same('deep', JSON.stringify(read('['.repeat(400) + ']'.repeat(400))).length, 800);
}

function language() {
    same('globalThis', [typeof globalThis, typeof global, typeof process.env], ['object', 'object', 'object']);
    same('JSON.parse with a reviver', JSON.parse('{"a":[1,2]}', (_, value) => (typeof value === 'number' ? value * 2 : value)), { a: [2, 4] });
    throws('JSON that is none', () => JSON.parse('{'), 'SyntaxError');
    same('JSON.parse of what is no text', [JSON.parse(1 as any), JSON.parse('"\\ud83d\\ude00"'), JSON.parse('[1e3,-0.5,true,null]')], [1, '😀', [1000, -0.5, true, null]]);
    same('what is new', [[1, 2, 3].at(-1), Object.groupBy === undefined || true, [3, 1].toSorted(), 'a-b'.replaceAll('-', '+'), [1, [2]].flat(), structuredClone(1)], [3, true, [1, 3], 'a+b', [1, 2], 1]);
    same('named groups and lookbehind', ['2024-05'.match(/(?<y>\d{4})-(?<m>\d\d)/)?.groups?.m, 'a1b2'.replace(/(?<=b)\d/, 'x')], ['05', 'a1bx']);
    same('dates', [new Date('2024-02-29T12:00:00Z').toISOString(), new Date(2024, 0, 31).getMonth(), Number.isNaN(new Date('nope').getTime()), new Date('2024-01-01').getTime()], ['2024-02-29T12:00:00.000Z', 0, true, 1704067200000]);
    same('numbers in en-US', [(1234567.891).toLocaleString(), (-1234.5).toLocaleString('en-US', { minimumFractionDigits: 2 }), (0.0001).toLocaleString(), (1e21).toLocaleString(), 12345678901234567890n.toLocaleString(), NaN.toLocaleString()], ['1,234,567.891', '-1,234.50', '0', '1,000,000,000,000,000,000,000', '12,345,678,901,234,567,890', 'NaN']);
    const noon = new Date(2024, 0, 2, 12, 3, 4);
    same('dates in en-US', [noon.toLocaleDateString(), noon.toLocaleTimeString().replace('\u202f', ' '), new Date(2024, 10, 30).toLocaleString('en-US').replace('\u202f', ' ')], ['1/2/2024', '12:03:04 PM', '11/30/2024, 12:00:00 AM']);
    same('dates of many spellings', ['2024-01-01T00:00:00+0000', '2024-01-01 10:00:00Z', 'Tue, 02 Jan 2024 03:04:05 +0100', '2024-01-01T10:00:00.123456789+02:00', 'Thu Jan 04 12:00:00 +0000 2024', 'January 2, 2024 10:00 AM UTC'].map((text) => new Date(text).getTime()), [1704067200000, 1704103200000, 1704161045000, 1704096000123, 1704369600000, 1704189600000]);
    same('Function.prototype', (() => 1) instanceof Function, true);
}

export default createAction({
    description: 'Asserts what the engine adds to JavaScript.',
    version: '1.0.0',
    exec: async () => {
        passed = 0;
        failed = [];
        for (const part of [urls, parameters, text, buffers, hashes, time, aborting, clones, answers, json, language]) {
            try {
                await part();
            } catch (error) {
                failed.push(`${part.name}: ${error} ${(error as Error).stack}`);
            }
        }
        return { passed, failed };
    },
});
