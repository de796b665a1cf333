// Requests in axios' shape: `get`, `post`, … `proxy`, their answers and their errors.
import { host, isArray, ownKeys, stringify } from './host.js';
import { calledFrom } from './failure.js';
import { send } from './pending.js';

/** An error in axios' shape: of an answer with a status of 400 or above, or of no answer at all. */
export class RequestError extends Error {
    constructor(message, code, config, response) {
        super(message);
        this.name = 'AxiosError';
        this.code = code;
        this.isAxiosError = true;
        Object.defineProperty(this, 'config', { value: config, enumerable: false });
        if (response !== undefined) {
            this.status = response.status;
            this.response = response;
        }
    }
    toJSON() {
        return { name: this.name, message: this.message, code: this.code, status: this.status };
    }
}

/** What axios calls the reasons for which there is no answer. */
const CODES = { 'timed-out': 'ECONNABORTED', 'body-too-large': 'ERR_BAD_RESPONSE', 'invalid-request': 'ERR_BAD_OPTION' };

const ABSOLUTE = /^[a-z][a-z0-9+.-]*:\/\//i;

/** The URL that a request goes to: absolute, or a path that the host puts behind the connection's base URL. */
export function urlOf({ endpoint, baseUrlOverride }) {
    const path = String(endpoint ?? '');
    if (ABSOLUTE.test(path)) return path;
    const rooted = path.startsWith('/') || path === '' ? path : `/${path}`;
    return baseUrlOverride ? `${String(baseUrlOverride).replace(/\/+$/, '')}${rooted}` : rooted || '/';
}

/** A path without that of the base URL, which it is put behind: of a link that the API counts from its origin. */
export function behindBase(baseUrl, path) {
    if (!baseUrl || !path.startsWith('/')) return path;
    const own = /^[a-z][a-z0-9+.-]*:\/\/[^/?#]*([^?#]*)/i.exec(String(baseUrl))?.[1].replace(/\/+$/, '');
    return own && path.startsWith(own) && /^[/?#]|^$/.test(path.slice(own.length)) ? path.slice(own.length) : path;
}

const decoded = (text) => {
    try {
        return decodeURIComponent(text.replaceAll('+', ' '));
    } catch {
        return text;
    }
};

/** Parameters as pairs: undefined is left out, a list is joined with commas; a text is a query string already. */
export function queryPairs(params) {
    if (params === undefined || params === null) return [];
    if (typeof params === 'string') {
        const flat = host.parseForm(params.replace(/^\?/, ''));
        return flat.flatMap((name, index) => (index % 2 === 0 ? [[name, flat[index + 1]]] : []));
    }
    if (params instanceof URLSearchParams) return [...params];
    return ownKeys(params)
        .filter((name) => params[name] !== undefined)
        .map((name) => [name, isArray(params[name]) ? params[name].join(',') : String(params[name])]);
}

/** Drops from a URL's own query what the parameters give anew: later wins. */
function withoutOverridden(url, pairs) {
    const [, path, query, hash] = /^([^?#]*)(?:\?([^#]*))?(#.*)?$/s.exec(url) ?? [];
    if (query === undefined || pairs.length === 0) return url;
    const names = pairs.map(([name]) => name);
    const kept = query.split('&').filter((part) => !names.includes(decoded(part.split('=')[0])));
    return `${path}${kept.length > 0 ? `?${kept.join('&')}` : ''}${hash ?? ''}`;
}

/** Headers as a flat list; undefined and null are left out. */
function headerList(headers) {
    const flat = [];
    if (headers === undefined || headers === null) return flat;
    const pairs = typeof headers.entries === 'function' && typeof headers !== 'string' ? [...headers.entries()] : ownKeys(headers).map((name) => [name, headers[name]]);
    for (const [name, value] of pairs) {
        if (value !== undefined && value !== null) flat.push(name, isArray(value) ? value.join(', ') : String(value));
    }
    return flat;
}

function headerOf(flat, wanted) {
    for (let i = 0; i < flat.length; i += 2) if (flat[i].toLowerCase() === wanted) return flat[i + 1];
    return undefined;
}

/** An object as `application/x-www-form-urlencoded`: nested names in brackets, as axios writes them. */
function formText(data) {
    const flat = [];
    const add = (name, value) => {
        if (value === undefined) return;
        if (value === null) flat.push(name, '');
        else if (isArray(value)) value.forEach((item) => add(typeof item === 'object' ? name : `${name}[]`, item));
        else if (value instanceof Date) flat.push(name, value.toISOString());
        else if (typeof value === 'object') ownKeys(value).forEach((key) => add(`${name}[${key}]`, value[key]));
        else flat.push(name, String(value));
    };
    ownKeys(data).forEach((name) => add(name, data[name]));
    return host.encodeForm(flat);
}

/** The body to send, and the content type where the script gave none. */
function bodyOf(data, headers) {
    if (data === undefined || data === null) return {};
    if (typeof data === 'string') return { body: data };
    if (data instanceof URLSearchParams) return { body: data.toString(), type: 'application/x-www-form-urlencoded' };
    if (data instanceof ArrayBuffer) return { body: new Uint8Array(data) };
    if (ArrayBuffer.isView(data)) return { body: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) };
    if (typeof data === 'object' && headerOf(headers, 'content-type')?.toLowerCase().startsWith('application/x-www-form-urlencoded')) {
        return { body: formText(data) };
    }
    return { body: stringify(data), type: 'application/json' };
}

/** A flat list of headers as an object; several of one name are joined. */
export function headerObject(flat) {
    const headers = {};
    for (let i = 0; i < flat.length; i += 2) {
        const [name, value] = [flat[i], flat[i + 1]];
        if (name === 'set-cookie') (headers[name] ??= []).push(value);
        else headers[name] = Object.hasOwn(headers, name) ? `${headers[name]}, ${value}` : value;
    }
    return headers;
}

const WANTED = { arraybuffer: 'bytes', blob: 'bytes', text: 'text', json: 'data', document: 'text' };

/** Sends one request; resolves to `{ data, status, headers }`, rejects with a RequestError. */
export async function request(config, call = new Error()) {
    if (typeof config !== 'object' || config === null) throw new TypeError('a request wants an object: { endpoint: "/…" }');
    if (config.responseType === 'stream') throw new TypeError('responseType "stream" is not available: use "arraybuffer"');
    const method = String(config.method ?? 'GET').toUpperCase();
    const headers = headerList(config.headers);
    const pairs = queryPairs(config.params);
    const { body, type } = method === 'GET' || method === 'HEAD' ? {} : bodyOf(config.data, headers);
    if (type !== undefined && headerOf(headers, 'content-type') === undefined) headers.push('content-type', type);

    let answer;
    try {
        answer = await send({
            method,
            url: withoutOverridden(urlOf(config), pairs),
            headers,
            query: pairs.flat(),
            body: body ?? null,
            timeoutMs: config.timeout ?? null,
            retries: Math.min(Number(config.retries ?? 0) || 0, 10),
            retryOn: (config.retryOn ?? []).map(Number),
            redirects: null,
            want: WANTED[config.responseType] ?? 'data',
        });
    } catch (error) {
        const failed = new RequestError(`${method} ${urlOf(config)}: ${error.message}`, CODES[error.kind] ?? 'ERR_NETWORK', config);
        failed.kind = error.kind;
        throw calledFrom(failed, call);
    }
    const data = answer.body instanceof Uint8Array ? Buffer.from(answer.body.buffer, answer.body.byteOffset, answer.body.byteLength) : answer.body;
    const response = { data, status: answer.status, statusText: '', headers: headerObject(answer.headers), config };
    if (answer.status >= 400) {
        const code = answer.status >= 500 ? 'ERR_BAD_RESPONSE' : 'ERR_BAD_REQUEST';
        throw calledFrom(new RequestError(`Request failed with status code ${answer.status}`, code, config, response), call);
    }
    return response;
}
