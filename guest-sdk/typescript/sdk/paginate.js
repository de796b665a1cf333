// Lists: an async iterable of pages, each an array.
import { host, hasOwn, isArray, parse, stringify } from './host.js';
import { behindBase, request } from './client.js';

/** A value in an answer by a dotted path; a key that equals the whole path wins. */
export function valueAt(data, path) {
    if (path === undefined || path === null || path === '') return data;
    if (typeof data !== 'object' || data === null) return undefined;
    if (hasOwn(data, path)) return data[path];
    let value = data;
    for (const key of String(path).replace(/\[(\w+)\]/g, '.$1').split('.')) {
        if (value === undefined || value === null) return undefined;
        value = value[key];
    }
    return value;
}

/** Sets a value in a body by a dotted name. */
function setAt(body, name, value) {
    const keys = name.split('.');
    const last = keys.pop();
    let place = body;
    for (const key of keys) {
        if (typeof place[key] !== 'object' || place[key] === null) place[key] = {};
        place = place[key];
    }
    place[last] = value;
}

/** The URL with `rel` in a `Link` header. */
function linkOf(header, rel) {
    for (const [, url, attributes] of String(header ?? '').matchAll(/<([^>]*)>((?:[^,"]|"[^"]*")*)/g)) {
        const rels = /;\s*rel\s*=\s*(?:"([^"]*)"|([^\s;]+))/i.exec(attributes);
        if ((rels?.[1] ?? rels?.[2] ?? '').split(/\s+/).includes(rel)) return url;
    }
    return undefined;
}

const required = (options, name) => {
    const value = options[name];
    if (value === undefined || value === null || value === '') throw new TypeError(`${options.type} pagination wants paginate.${name}`);
    return value;
};

/** A list's first request, and where its parameters go: into the query, or into the body. */
class List {
    constructor(config, options, call) {
        this.call = call;
        this.method = String(config.method ?? 'GET').toUpperCase();
        this.inBody = options.in_body ?? !['GET', 'DELETE', 'HEAD'].includes(this.method);
        this.config = { ...config, method: this.method };
        delete this.config.paginate;
        if (this.inBody) this.config.data = config.data === undefined || typeof config.data === 'string' ? (config.data ?? {}) : parse(stringify(config.data));
        else if (typeof config.params === 'string' || config.params instanceof URLSearchParams) {
            this.config.params = Object.fromEntries(new URLSearchParams(config.params));
        } else this.config.params = { ...config.params };
    }
    set(name, value) {
        if (!this.inBody) this.config.params[name] = value;
        else if (typeof this.config.data === 'object') setAt(this.config.data, name, value);
        else throw new TypeError('pagination in the body wants an object as data');
    }
    next() {
        return request(this.config, this.call);
    }
}

/**
 * The pages of a list. `config` is a request with `paginate`, whose options go over the integration's own. What is wrong is
 * told where the script asks for the list: QuickJS does not say from where a generator goes on.
 */
export function paginate(config) {
    const call = new Error();
    const options = { ...host.connection().pagination, ...config.paginate };
    if (typeof options.type === 'string') options.type = options.type.toLowerCase();
    if (!options.type) throw new TypeError("paginate wants paginate.type: 'cursor', 'link', 'offset' or 'page'");
    if (options.type === 'cursor' && options.limit && !options.limit_name_in_request) {
        throw new TypeError('cursor pagination with paginate.limit wants paginate.limit_name_in_request, the parameter that it is sent as');
    }
    const list = new List(config, options, call);
    // Without a name it is not sent, and still says of an offset's page whether it is the last.
    if (options.limit && options.limit_name_in_request) list.set(options.limit_name_in_request, list.inBody ? options.limit : String(options.limit));
    switch (options.type) {
        case 'cursor':
            return byCursor(list, options, required(options, 'cursor_name_in_request'), required(options, 'cursor_path_in_response'));
        case 'link':
            if (!options.link_rel_in_response_header && !options.link_path_in_response_body) {
                throw new TypeError('link pagination wants paginate.link_rel_in_response_header or paginate.link_path_in_response_body');
            }
            return byLink(list, options);
        case 'offset':
            return byOffset(list, options, required(options, 'offset_name_in_request'));
        case 'page':
            return byOffset(
                list,
                { offset_start_value: options.page_start_value ?? 1, ...options, offset_calculation_method: 'per-page' },
                options.offset_name_in_request ?? options.page_name_in_request ?? 'page',
            );
        default:
            throw new TypeError(`there is no pagination of type ${options.type}: take 'cursor', 'link', 'offset' or 'page'`);
    }
}

const rowsOf = (response, options) => {
    const rows = valueAt(response.data, options.response_path);
    return isArray(rows) ? rows : [];
};

async function* byCursor(list, options, name, path) {
    for (;;) {
        const response = await list.next();
        const rows = rowsOf(response, options);
        if (rows.length === 0) return;
        yield rows;
        let cursor = valueAt(response.data, path);
        if (typeof cursor === 'string') cursor = cursor.trim() || undefined;
        else if (typeof cursor !== 'number') cursor = undefined;
        await options.on_page?.({ nextPageParam: cursor, response });
        if (cursor === undefined) return;
        list.set(name, cursor);
    }
}

async function* byLink(list, options) {
    const { link_rel_in_response_header: rel, link_path_in_response_body: path } = options;
    const followed = new Set();
    for (;;) {
        const response = await list.next();
        yield rowsOf(response, options);
        const link = rel ? linkOf(response.headers.link, rel) : valueAt(response.data, path);
        const next = typeof link === 'string' && link.trim() !== '' ? link.trim() : undefined;
        await options.on_page?.({ nextPageParam: next, response });
        if (next === undefined || followed.has(next)) return;
        followed.add(next);
        list.config.endpoint = relativeTo(list.config, next);
        // The link has the query; what the first request had would be there twice.
        delete list.config.params;
    }
}

/** A link that is only a query belongs to the path that it came from; one with a path may have that of the base URL in it. */
function relativeTo({ endpoint, baseUrlOverride }, link) {
    if (link.startsWith('?')) return String(endpoint).replace(/[?#].*$/s, '') + link;
    return behindBase(baseUrlOverride, link);
}

async function* byOffset(list, options, name) {
    const perPage = (options.offset_calculation_method ?? 'by-response-size') === 'per-page';
    let offset = Number(options.offset_start_value ?? 0);
    for (;;) {
        list.set(name, list.inBody ? offset : String(offset));
        const response = await list.next();
        const rows = rowsOf(response, options);
        if (rows.length === 0) return;
        yield rows;
        offset += perPage ? 1 : rows.length;
        const last = options.limit && rows.length < options.limit;
        await options.on_page?.({ nextPageParam: last ? undefined : offset, response });
        if (last) return;
    }
}
