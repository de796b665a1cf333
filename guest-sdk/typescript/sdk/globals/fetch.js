// fetch, Headers, Request, Response over the host's requests. Bodies are whole: no streams.
import { host, parse, stringify } from '../host.js';
import { send } from '../pending.js';
import { bytesOf } from './encoding.js';
import { calledFrom } from '../failure.js';

const lower = (name) => {
    const text = String(name);
    if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(text)) throw new TypeError(`Invalid header name: ${text}`);
    return text.toLowerCase();
};
const trimmed = (value) => String(value).replace(/^[\t\n\r ]+|[\t\n\r ]+$/g, '');

export class Headers {
    #values = new Map();
    constructor(init) {
        if (init === undefined || init === null) return;
        const pairs = typeof init[Symbol.iterator] === 'function' ? init : Object.entries(init);
        for (const [name, value] of pairs) this.append(name, value);
    }
    append(name, value) {
        const key = lower(name);
        if (!this.#values.has(key)) this.#values.set(key, []);
        this.#values.get(key).push(trimmed(value));
    }
    set(name, value) { this.#values.set(lower(name), [trimmed(value)]); }
    get(name) { return this.#values.get(lower(name))?.join(', ') ?? null; }
    has(name) { return this.#values.has(lower(name)); }
    delete(name) { this.#values.delete(lower(name)); }
    getSetCookie() { return [...(this.#values.get('set-cookie') ?? [])]; }
    forEach(callback, self) { for (const [name, value] of this) callback.call(self, value, name, this); }
    *entries() {
        for (const name of [...this.#values.keys()].sort()) {
            if (name === 'set-cookie') for (const value of this.#values.get(name)) yield [name, value];
            else yield [name, this.#values.get(name).join(', ')];
        }
    }
    *keys() { for (const [name] of this) yield name; }
    *values() { for (const [, value] of this) yield value; }
    [Symbol.iterator]() { return this.entries(); }
    get [Symbol.toStringTag]() { return 'Headers'; }
}

/** A body as bytes, and the content type that goes with its kind. */
function bodyOf(body) {
    if (body === undefined || body === null) return {};
    if (body instanceof URLSearchParams) return { bytes: host.encodeUtf8(body.toString()), type: 'application/x-www-form-urlencoded;charset=UTF-8' };
    if (body instanceof ArrayBuffer || ArrayBuffer.isView(body)) return { bytes: Uint8Array.from(bytesOf(body)) };
    return { bytes: host.encodeUtf8(String(body)), type: 'text/plain;charset=UTF-8' };
}

/** What requests and answers share. */
class Body {
    #bytes;
    #used = false;
    constructor(bytes) {
        this.#bytes = bytes;
    }
    get bodyUsed() { return this.#used; }
    get body() { return null; }
    #take() {
        if (this.#used) throw new TypeError('Body is unusable: Body has already been read');
        this.#used = this.#bytes !== undefined;
        return this.#bytes ?? new Uint8Array(0);
    }
    _peek() {
        if (this.#used) throw new TypeError('Body has already been read');
        return this.#bytes;
    }
    async arrayBuffer() {
        const bytes = this.#take();
        return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
    }
    async bytes() { return this.#take(); }
    async text() { return host.decodeUtf8(this.#take(), false).replace(/^\ufeff/, ''); }
    async json() { return parse(await this.text()); }
    async blob() { throw new TypeError('Blob is not available: use arrayBuffer()'); }
    async formData() { throw new TypeError('FormData is not available: use text()'); }
}

export class Request extends Body {
    constructor(input, init = {}) {
        const from = input instanceof Request ? input : undefined;
        const { bytes, type } = init.body !== undefined ? bodyOf(init.body) : { bytes: from?._peek() };
        const method = String(init.method ?? from?.method ?? 'GET').toUpperCase();
        if (bytes !== undefined && (method === 'GET' || method === 'HEAD')) throw new TypeError('Request with GET/HEAD method cannot have body.');
        super(bytes);
        this.method = method;
        this.url = from?.url ?? new URL(input).href;
        this.headers = new Headers(init.headers ?? from?.headers);
        if (type !== undefined && !this.headers.has('content-type')) this.headers.set('content-type', type);
        this.signal = init.signal ?? from?.signal ?? null;
        this.redirect = init.redirect ?? from?.redirect ?? 'follow';
    }
    clone() { return new Request(this); }
}

export class Response extends Body {
    constructor(body, { status = 200, statusText = '', headers } = {}) {
        const { bytes, type } = bodyOf(body);
        super(bytes);
        this.status = status;
        this.statusText = statusText;
        this.headers = new Headers(headers);
        if (type !== undefined && !this.headers.has('content-type')) this.headers.set('content-type', type);
        this.url = '';
        this.redirected = false;
        this.type = 'default';
    }
    get ok() { return this.status >= 200 && this.status < 300; }
    clone() {
        const copy = new Response(this._peek(), this);
        copy.url = this.url;
        return copy;
    }
    static json(data, init = {}) {
        const headers = new Headers(init.headers);
        if (!headers.has('content-type')) headers.set('content-type', 'application/json');
        return new Response(stringify(data), { ...init, headers });
    }
    static error() { return new Response(null, { status: 0 }); }
}

export async function fetch(input, init) {
    const call = new Error();
    const request = new Request(input, init);
    const { signal } = request;
    signal?.throwIfAborted();
    const answered = send({
        method: request.method,
        url: request.url,
        headers: [...request.headers].flat(),
        query: [],
        body: request._peek() ?? null,
        timeoutMs: null,
        retries: 0,
        retryOn: null,
        redirects: request.redirect === 'follow' ? 5 : 0,
        want: 'bytes',
    });
    const aborted = signal && new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }));
    let answer;
    try {
        answer = await (aborted ? Promise.race([answered, aborted]) : answered);
    } catch (error) {
        if (error?.kind === undefined) throw error;
        const failed = new TypeError(`fetch failed: ${error.message}`);
        failed.kind = error.kind;
        throw calledFrom(failed, call);
    }
    if (request.redirect === 'error' && answer.status >= 300 && answer.status < 400) throw new TypeError('fetch failed: unexpected redirect');
    const headers = [];
    for (let i = 0; i < answer.headers.length; i += 2) headers.push([answer.headers[i], answer.headers[i + 1]]);
    const response = new Response(answer.body.length > 0 ? answer.body : null, { status: answer.status, headers });
    response.url = request.url;
    return response;
}
