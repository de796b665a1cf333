// URL and URLSearchParams; parsing is the engine's.
import { host } from '../host.js';

const PARTS = ['href', 'origin', 'protocol', 'username', 'password', 'host', 'hostname', 'port', 'pathname', 'search', 'hash'];

/** Tells a URL that its query changed; kept from scripts. */
let changeQuery;
/** Replaces a list of parameters without telling its URL. */
let replacePairs;
/** Binds a list of parameters to its URL. */
let bind;

export class URLSearchParams {
    #pairs = [];
    #url;
    static {
        bind = (params, url) => { params.#url = url; };
        replacePairs = (params, search) => { params.#pairs = pairsOf(search); };
    }
    constructor(init = '') {
        if (typeof init === 'object' && init !== null) {
            if (typeof init[Symbol.iterator] === 'function') {
                for (const pair of init) {
                    const both = [...pair];
                    if (both.length !== 2) throw new TypeError('each pair must be a name and a value');
                    this.#pairs.push([wellFormed(both[0]), wellFormed(both[1])]);
                }
            } else for (const name of Reflect.ownKeys(init)) if (typeof name === 'string') this.#pairs.push([wellFormed(name), wellFormed(init[name])]);
        } else this.#pairs = pairsOf(String(init));
    }
    #changed() {
        if (this.#url !== undefined) changeQuery(this.#url, this.toString());
    }
    get size() { return this.#pairs.length; }
    append(name, value) {
        this.#pairs.push([wellFormed(name), wellFormed(value)]);
        this.#changed();
    }
    delete(name, value) {
        const wanted = String(name);
        this.#pairs = this.#pairs.filter(([known, has]) => known !== wanted || (value !== undefined && has !== String(value)));
        this.#changed();
    }
    get(name) { return this.#pairs.find(([known]) => known === String(name))?.[1] ?? null; }
    getAll(name) { return this.#pairs.filter(([known]) => known === String(name)).map(([, value]) => value); }
    has(name, value) { return this.#pairs.some(([known, has]) => known === String(name) && (value === undefined || has === String(value))); }
    set(name, value) {
        const wanted = wellFormed(name);
        const place = this.#pairs.findIndex(([known]) => known === wanted);
        if (place < 0) this.#pairs.push([wanted, wellFormed(value)]);
        else this.#pairs = this.#pairs.filter(([known], index) => known !== wanted || index === place).map((pair) => (pair[0] === wanted ? [wanted, wellFormed(value)] : pair));
        this.#changed();
    }
    sort() {
        this.#pairs.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
        this.#changed();
    }
    forEach(callback, self) { for (const [name, value] of this.#pairs) callback.call(self, value, name, this); }
    *entries() { for (const [name, value] of this.#pairs) yield [name, value]; }
    *keys() { for (const [name] of this.#pairs) yield name; }
    *values() { for (const [, value] of this.#pairs) yield value; }
    [Symbol.iterator]() { return this.entries(); }
    toString() { return host.encodeForm(this.#pairs.flat()); }
    get [Symbol.toStringTag]() { return 'URLSearchParams'; }
}

const wellFormed = (text) => String(text).toWellFormed();

function pairsOf(search) {
    const flat = host.parseForm(search.startsWith('?') ? search.slice(1) : search);
    const pairs = [];
    for (let i = 0; i < flat.length; i += 2) pairs.push([flat[i], flat[i + 1]]);
    return pairs;
}

export class URL {
    #parts;
    #params;
    static {
        changeQuery = (url, query) => { url.#parts = host.setUrl(url.#parts[0], 'search', query); };
    }
    constructor(url, base) {
        this.#parts = host.parseUrl(wellFormed(url), base === undefined ? null : wellFormed(base));
        if (this.#parts === null) {
            const error = new TypeError('Invalid URL');
            error.code = 'ERR_INVALID_URL';
            error.input = String(url);
            throw error;
        }
    }
    static canParse(url, base) { return host.parseUrl(wellFormed(url), base === undefined ? null : wellFormed(base)) !== null; }
    static parse(url, base) { return URL.canParse(url, base) ? new URL(url, base) : null; }
    static of(url, index) { return url.#parts[index]; }
    static change(url, part, value) {
        if (part === 'href') url.#parts = new URL(value).#parts;
        else url.#parts = host.setUrl(url.#parts[0], part, wellFormed(value));
        if (url.#params !== undefined) replacePairs(url.#params, url.#parts[9]);
    }
    get searchParams() {
        if (this.#params === undefined) {
            this.#params = new URLSearchParams(this.#parts[9]);
            bind(this.#params, this);
        }
        return this.#params;
    }
    toString() { return this.#parts[0]; }
    toJSON() { return this.#parts[0]; }
    get [Symbol.toStringTag]() { return 'URL'; }
}

const { of, change } = URL;
delete URL.of;
delete URL.change;
PARTS.forEach((part, index) => {
    Object.defineProperty(URL.prototype, part, {
        get() { return of(this, index); },
        ...(part !== 'origin' && { set(value) { change(this, part, value); } }),
        enumerable: true,
        configurable: true,
    });
});
