// What scripts find on the global object besides ECMAScript's own, and the modules of Node that they can import: for editors
// without the DOM's types and without @types/node. Here stands what the engine has, and nothing that it has not.

type BufferEncoding = 'utf8' | 'utf-8' | 'hex' | 'base64' | 'base64url' | 'latin1' | 'binary' | 'ascii' | 'utf16le' | 'utf-16le' | 'ucs2' | 'ucs-2';
type BufferSource = ArrayBufferView | ArrayBuffer;
type HeadersInit = Headers | [string, string][] | Record<string, string>;
type BodyInit = string | URLSearchParams | BufferSource;

// URLs

declare class URL {
    constructor(url: string | URL, base?: string | URL);
    static canParse(url: string | URL, base?: string | URL): boolean;
    static parse(url: string | URL, base?: string | URL): URL | null;
    href: string;
    readonly origin: string;
    protocol: string;
    username: string;
    password: string;
    host: string;
    hostname: string;
    port: string;
    pathname: string;
    search: string;
    hash: string;
    readonly searchParams: URLSearchParams;
    toString(): string;
    toJSON(): string;
}

declare class URLSearchParams {
    constructor(init?: string | Iterable<[string, string]> | string[][] | Record<string, string> | URLSearchParams);
    readonly size: number;
    append(name: string, value: string): void;
    delete(name: string, value?: string): void;
    get(name: string): string | null;
    getAll(name: string): string[];
    has(name: string, value?: string): boolean;
    set(name: string, value: string): void;
    sort(): void;
    forEach(callback: (value: string, name: string, params: URLSearchParams) => void, self?: any): void;
    entries(): IterableIterator<[string, string]>;
    keys(): IterableIterator<string>;
    values(): IterableIterator<string>;
    [Symbol.iterator](): IterableIterator<[string, string]>;
    toString(): string;
}

// Text and bytes

declare class TextEncoder {
    readonly encoding: 'utf-8';
    encode(text?: string): Uint8Array<ArrayBuffer>;
    encodeInto(text: string, into: Uint8Array): { read: number; written: number };
}

declare class TextDecoder {
    /** UTF-8, UTF-16 (little-endian) and Latin-1 by their labels. */
    constructor(label?: string, options?: { fatal?: boolean; ignoreBOM?: boolean });
    readonly encoding: string;
    readonly fatal: boolean;
    readonly ignoreBOM: boolean;
    decode(data?: BufferSource, options?: { stream?: boolean }): string;
}

declare function atob(text: string): string;
declare function btoa(text: string): string;

declare class Buffer extends Uint8Array<ArrayBuffer> {
    static from(text: string, encoding?: BufferEncoding): Buffer;
    static from(buffer: ArrayBuffer, offset?: number, length?: number): Buffer;
    static from(bytes: ArrayLike<number> | Iterable<number> | { type: 'Buffer'; data: number[] }): Buffer;
    static of(...bytes: number[]): Buffer;
    static alloc(size: number, fill?: string | number | Uint8Array, encoding?: BufferEncoding): Buffer;
    static allocUnsafe(size: number): Buffer;
    static byteLength(value: string | BufferSource, encoding?: BufferEncoding): number;
    static isBuffer(value: unknown): value is Buffer;
    static isEncoding(name: string): name is BufferEncoding;
    static concat(list: readonly Uint8Array[], length?: number): Buffer;
    static compare(a: Uint8Array, b: Uint8Array): -1 | 0 | 1;
    toString(encoding?: BufferEncoding, start?: number, end?: number): string;
    toLocaleString(encoding?: any): string;
    toJSON(): { type: 'Buffer'; data: number[] };
    equals(other: Uint8Array): boolean;
    compare(other: Uint8Array): -1 | 0 | 1;
    slice(start?: number, end?: number): Buffer;
    subarray(start?: number, end?: number): Buffer;
    write(text: string, encoding?: BufferEncoding): number;
    write(text: string, offset: number, encoding?: BufferEncoding): number;
    write(text: string, offset: number, length: number, encoding?: BufferEncoding): number;
    copy(target: Uint8Array, targetStart?: number, start?: number, end?: number): number;
    fill(value: string | number, start?: number, end?: number, encoding?: BufferEncoding): this;
    indexOf(value: string | number | Uint8Array, from?: number, encoding?: BufferEncoding): number;
    includes(value: string | number | Uint8Array, from?: number, encoding?: BufferEncoding): boolean;
    readUInt8(offset?: number): number;
    readInt8(offset?: number): number;
    readUInt16LE(offset?: number): number;
    readUInt16BE(offset?: number): number;
    readInt16LE(offset?: number): number;
    readInt16BE(offset?: number): number;
    readUInt32LE(offset?: number): number;
    readUInt32BE(offset?: number): number;
    readInt32LE(offset?: number): number;
    readInt32BE(offset?: number): number;
    readBigUInt64LE(offset?: number): bigint;
    readBigUInt64BE(offset?: number): bigint;
    readBigInt64LE(offset?: number): bigint;
    readBigInt64BE(offset?: number): bigint;
    readFloatLE(offset?: number): number;
    readFloatBE(offset?: number): number;
    readDoubleLE(offset?: number): number;
    readDoubleBE(offset?: number): number;
    writeUInt8(value: number, offset?: number): number;
    writeInt8(value: number, offset?: number): number;
    writeUInt16LE(value: number, offset?: number): number;
    writeUInt16BE(value: number, offset?: number): number;
    writeInt16LE(value: number, offset?: number): number;
    writeInt16BE(value: number, offset?: number): number;
    writeUInt32LE(value: number, offset?: number): number;
    writeUInt32BE(value: number, offset?: number): number;
    writeInt32LE(value: number, offset?: number): number;
    writeInt32BE(value: number, offset?: number): number;
    writeBigUInt64LE(value: bigint, offset?: number): number;
    writeBigUInt64BE(value: bigint, offset?: number): number;
    writeBigInt64LE(value: bigint, offset?: number): number;
    writeBigInt64BE(value: bigint, offset?: number): number;
    writeFloatLE(value: number, offset?: number): number;
    writeFloatBE(value: number, offset?: number): number;
    writeDoubleLE(value: number, offset?: number): number;
    writeDoubleBE(value: number, offset?: number): number;
}

// Time

interface Timer {
    ref(): this;
    unref(): this;
    hasRef(): boolean;
    refresh(): this;
    close(): void;
    [Symbol.toPrimitive](): number;
}

declare function setTimeout(callback: (nothing: void) => void, ms?: number): Timer;
declare function setTimeout<Args extends any[]>(callback: (...args: Args) => void, ms?: number, ...args: Args): Timer;
declare function setInterval<Args extends any[]>(callback: (...args: Args) => void, ms?: number, ...args: Args): Timer;
declare function setImmediate(callback: (nothing: void) => void): Timer;
declare function setImmediate<Args extends any[]>(callback: (...args: Args) => void, ...args: Args): Timer;
declare function clearTimeout(timer: Timer | undefined | null): void;
declare function clearInterval(timer: Timer | undefined | null): void;
declare function clearImmediate(timer: Timer | undefined | null): void;
declare function queueMicrotask(callback: () => void): void;
declare const performance: { now(): number; readonly timeOrigin: number };

// Aborting

declare class Event {
    constructor(type: string, options?: { cancelable?: boolean });
    readonly type: string;
    readonly cancelable: boolean;
    readonly defaultPrevented: boolean;
    readonly target: EventTarget | null;
    preventDefault(): void;
    stopPropagation(): void;
    stopImmediatePropagation(): void;
}

type EventListener = ((event: Event) => void) | { handleEvent(event: Event): void };

declare class EventTarget {
    addEventListener(type: string, listener: EventListener, options?: { once?: boolean }): void;
    removeEventListener(type: string, listener: EventListener): void;
    dispatchEvent(event: Event): boolean;
}

declare class AbortSignal extends EventTarget {
    private constructor();
    readonly aborted: boolean;
    readonly reason: any;
    onabort: ((event: Event) => void) | null;
    throwIfAborted(): void;
    static abort(reason?: any): AbortSignal;
    static timeout(ms: number): AbortSignal;
    static any(signals: Iterable<AbortSignal>): AbortSignal;
}

declare class AbortController {
    readonly signal: AbortSignal;
    abort(reason?: any): void;
}

declare class DOMException extends Error {
    constructor(message?: string, name?: string);
    readonly name: string;
    readonly code: number;
}

// Requests without the connection's retries; they pass the operator's policy like all others. Bodies are whole: no streams.

declare class Headers {
    constructor(init?: HeadersInit);
    append(name: string, value: string): void;
    set(name: string, value: string): void;
    get(name: string): string | null;
    has(name: string): boolean;
    delete(name: string): void;
    getSetCookie(): string[];
    forEach(callback: (value: string, name: string, headers: Headers) => void, self?: any): void;
    entries(): IterableIterator<[string, string]>;
    keys(): IterableIterator<string>;
    values(): IterableIterator<string>;
    [Symbol.iterator](): IterableIterator<[string, string]>;
}

interface RequestInit {
    method?: string;
    headers?: HeadersInit;
    body?: BodyInit | null;
    signal?: AbortSignal | null;
    redirect?: 'follow' | 'error' | 'manual';
}

interface ResponseInit {
    status?: number;
    statusText?: string;
    headers?: HeadersInit;
}

interface Body {
    readonly body: null;
    readonly bodyUsed: boolean;
    arrayBuffer(): Promise<ArrayBuffer>;
    bytes(): Promise<Uint8Array<ArrayBuffer>>;
    text(): Promise<string>;
    json(): Promise<any>;
}

interface Request extends Body {
    readonly method: string;
    readonly url: string;
    readonly headers: Headers;
    readonly signal: AbortSignal | null;
    readonly redirect: string;
    clone(): Request;
}
declare var Request: { new (input: string | URL | Request, init?: RequestInit): Request; prototype: Request };

interface Response extends Body {
    readonly status: number;
    readonly statusText: string;
    readonly ok: boolean;
    readonly headers: Headers;
    readonly url: string;
    readonly redirected: boolean;
    readonly type: string;
    clone(): Response;
}
declare var Response: {
    new (body?: BodyInit | null, init?: ResponseInit): Response;
    prototype: Response;
    json(data: any, init?: ResponseInit): Response;
    error(): Response;
};

declare function fetch(input: string | URL | Request, init?: RequestInit): Promise<Response>;

// The rest

/** To the run's log. */
interface Console {
    debug(...values: any[]): void;
    trace(...values: any[]): void;
    log(...values: any[]): void;
    info(...values: any[]): void;
    dir(...values: any[]): void;
    table(...values: any[]): void;
    group(...values: any[]): void;
    groupCollapsed(...values: any[]): void;
    groupEnd(): void;
    warn(...values: any[]): void;
    error(...values: any[]): void;
    assert(holds?: boolean, ...values: any[]): void;
    count(label?: string): void;
    countReset(label?: string): void;
    time(label?: string): void;
    timeLog(label?: string): void;
    timeEnd(label?: string): void;
}
declare var console: Console;

declare function structuredClone<T>(value: T): T;
declare var global: typeof globalThis;
/** The environment is empty: what the operator configures comes with `terapi.config`. */
declare var process: { readonly env: { readonly [name: string]: string | undefined }; nextTick(callback: (...args: any[]) => void, ...args: any[]): void };

interface CryptoKey {
    readonly type: 'secret';
    readonly algorithm: any;
    readonly extractable: boolean;
    readonly usages: string[];
}

interface SubtleCrypto {
    digest(algorithm: string | { name: string }, data: BufferSource): Promise<ArrayBuffer>;
    /** Raw keys for HMAC. */
    importKey(form: 'raw', data: BufferSource, algorithm: { name: 'HMAC'; hash: string | { name: string } }, extractable: boolean, usages: readonly string[]): Promise<CryptoKey>;
    sign(algorithm: string | { name: string }, key: CryptoKey, data: BufferSource): Promise<ArrayBuffer>;
    verify(algorithm: string | { name: string }, key: CryptoKey, signature: BufferSource, data: BufferSource): Promise<boolean>;
}

interface Crypto {
    readonly subtle: SubtleCrypto;
    randomUUID(): `${string}-${string}-${string}-${string}-${string}`;
    getRandomValues<T extends ArrayBufferView>(into: T): T;
}
declare var crypto: Crypto;

declare module 'node:crypto' {
    /** MD5, SHA-1, SHA-224, SHA-256, SHA-384 and SHA-512. */
    export interface Hash {
        update(data: string | BufferSource, encoding?: BufferEncoding): this;
        digest(): Buffer;
        digest(encoding: BufferEncoding): string;
    }
    export type Hmac = Hash;
    export function createHash(name: string): Hash;
    export function createHmac(name: string, key: string | BufferSource): Hmac;
    export function randomBytes(count: number): Buffer;
    export function randomInt(below: number): number;
    export function randomInt(low: number, below: number): number;
    export function randomUUID(): `${string}-${string}-${string}-${string}-${string}`;
    export function timingSafeEqual(a: BufferSource, b: BufferSource): boolean;
    export function getRandomValues<T extends ArrayBufferView>(into: T): T;
    export const subtle: SubtleCrypto;
    export const webcrypto: Crypto;
    const crypto: Crypto & {
        createHash: typeof createHash;
        createHmac: typeof createHmac;
        randomBytes: typeof randomBytes;
        randomInt: typeof randomInt;
        timingSafeEqual: typeof timingSafeEqual;
        getHashes(): string[];
        webcrypto: Crypto;
    };
    export default crypto;
}
declare module 'crypto' {
    export * from 'node:crypto';
    export { default } from 'node:crypto';
}

declare module 'node:buffer' {
    export import Buffer = globalThis.Buffer;
    export import atob = globalThis.atob;
    export import btoa = globalThis.btoa;
    const buffer: { Buffer: typeof Buffer; atob: typeof atob; btoa: typeof btoa };
    export default buffer;
}
declare module 'buffer' {
    export * from 'node:buffer';
    export { default } from 'node:buffer';
}

declare module 'node:url' {
    export import URL = globalThis.URL;
    export import URLSearchParams = globalThis.URLSearchParams;
    const url: { URL: typeof URL; URLSearchParams: typeof URLSearchParams };
    export default url;
}
declare module 'url' {
    export * from 'node:url';
    export { default } from 'node:url';
}
