// crypto: the web's, and Node's createHash and createHmac.
import { host } from '../host.js';
import { bytesOf } from './encoding.js';
import { Buffer, encode } from './buffer.js';

const given = (data, encoding) => (typeof data === 'string' ? encode(data, encoding) : bytesOf(data));

/** What both hashes do: gather the parts, give the bytes once. */
class Digest {
    #parts = [];
    #finish;
    #done = false;
    constructor(finish) {
        this.#finish = finish;
    }
    update(data, encoding) {
        if (this.#done) throw new Error('Digest already called');
        this.#parts.push(Uint8Array.from(given(data, encoding)));
        return this;
    }
    digest(encoding) {
        if (this.#done) throw new Error('Digest already called');
        this.#done = true;
        const bytes = this.#finish(this.#parts.length === 1 ? this.#parts[0] : new Uint8Array(Buffer.concat(this.#parts)));
        const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
        return encoding === undefined || encoding === 'buffer' ? buffer : buffer.toString(encoding);
    }
}

function known(name, bytes) {
    if (bytes === null) throw new Error(`Digest method not supported: ${name} (md5, sha1, sha224, sha256, sha384 and sha512 are)`);
    return bytes;
}

export function createHash(name) {
    known(name, host.digest(name, new Uint8Array(0)));
    return new Digest((data) => host.digest(name, data));
}

export function createHmac(name, key) {
    const secret = Uint8Array.from(given(key));
    known(name, host.hmac(name, secret, new Uint8Array(0)));
    return new Digest((data) => host.hmac(name, secret, data));
}

export function randomBytes(count) {
    const bytes = host.randomBytes(Number(count));
    return Buffer.from(bytes.buffer);
}

export function randomUUID() {
    const bytes = host.randomBytes(16);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    const hex = host.encodeHex(bytes);
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

export function randomInt(low, high) {
    if (high === undefined) [low, high] = [0, low];
    return low + Math.floor(host.random() * (high - low));
}

export function timingSafeEqual(a, b) {
    const [x, y] = [bytesOf(a), bytesOf(b)];
    if (x.length !== y.length) throw new RangeError('Input buffers must have the same byte length');
    let different = 0;
    for (let i = 0; i < x.length; i++) different |= x[i] ^ y[i];
    return different === 0;
}

export function getRandomValues(into) {
    if (!ArrayBuffer.isView(into) || into instanceof Float32Array || into instanceof Float64Array || into instanceof DataView) {
        throw new TypeError('getRandomValues wants an array of integers');
    }
    if (into.byteLength > 65536) throw new DOMException(`getRandomValues fills at most 65536 bytes, and not ${into.byteLength}`, 'QuotaExceededError');
    host.fillRandom(bytesOf(into));
    return into;
}

const named = (algorithm) => String(algorithm?.name ?? algorithm);
const exact = (bytes) => bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);

/** An HMAC key of subtle crypto. */
class CryptoKey {
    #secret;
    constructor(secret, algorithm, extractable, usages) {
        this.#secret = secret;
        Object.assign(this, { type: 'secret', algorithm, extractable, usages });
    }
    static secret(key) { return key.#secret; }
}
const secretOf = CryptoKey.secret;
delete CryptoKey.secret;

export const subtle = {
    async digest(algorithm, data) {
        const name = named(algorithm);
        if (!/^sha-(1|256|384|512)$/i.test(name)) throw new DOMException(`the digest ${name} is not available`, 'NotSupportedError');
        return exact(host.digest(name, bytesOf(data)));
    },
    async importKey(form, data, algorithm, extractable, usages) {
        if (form !== 'raw' || named(algorithm).toUpperCase() !== 'HMAC') throw new DOMException('of keys, raw ones for HMAC are available', 'NotSupportedError');
        return new CryptoKey(Uint8Array.from(bytesOf(data)), { name: 'HMAC', hash: { name: named(algorithm.hash) } }, extractable, usages);
    },
    async sign(algorithm, key, data) {
        return exact(known(key.algorithm.hash.name, host.hmac(key.algorithm.hash.name, secretOf(key), bytesOf(data))));
    },
    async verify(algorithm, key, signature, data) {
        const right = new Uint8Array(await subtle.sign(algorithm, key, data));
        const said = bytesOf(signature);
        return said.length === right.length && timingSafeEqual(said, right);
    },
};

export const crypto = {
    subtle, randomUUID, getRandomValues, randomBytes, randomInt, createHash, createHmac, timingSafeEqual,
    getHashes: () => ['md5', 'sha1', 'sha224', 'sha256', 'sha384', 'sha512'],
};
crypto.webcrypto = crypto;
