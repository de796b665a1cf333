// Buffer: Node's, in the parts that scripts use.
import { host } from '../host.js';
import { bytesOf } from './encoding.js';

const ENCODINGS = {
    utf8: 'utf8', 'utf-8': 'utf8', hex: 'hex', base64: 'base64', base64url: 'base64url', latin1: 'latin1', binary: 'latin1',
    ascii: 'ascii', utf16le: 'utf16le', 'utf-16le': 'utf16le', ucs2: 'utf16le', 'ucs-2': 'utf16le',
};

function encodingOf(name) {
    const encoding = ENCODINGS[String(name ?? 'utf8').toLowerCase()];
    if (encoding === undefined) throw new TypeError(`Unknown encoding: ${name}`);
    return encoding;
}

/** A text as bytes. */
export function encode(text, encoding) {
    switch (encodingOf(encoding)) {
        case 'hex': return host.decodeHex(text);
        case 'base64':
        case 'base64url': return host.decodeBase64(text, false);
        case 'latin1':
        case 'ascii': return host.encodeLatin1(text);
        case 'utf16le': return host.encodeUtf16(text);
        default: return host.encodeUtf8(text);
    }
}

/** Bytes as a text. */
export function decode(bytes, encoding) {
    switch (encodingOf(encoding)) {
        case 'hex': return host.encodeHex(bytes);
        case 'base64': return host.encodeBase64(bytes, false);
        case 'base64url': return host.encodeBase64(bytes, true);
        case 'latin1': return host.decodeLatin1(bytes);
        case 'ascii': return host.decodeLatin1(bytes.map((byte) => byte & 0x7f));
        case 'utf16le': return host.decodeUtf16(bytes.subarray(0, bytes.length & ~1));
        default: return host.decodeUtf8(bytes, false);
    }
}

const plain = (buffer) => new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength);
const wrap = (bytes) => new Buffer(bytes.buffer, bytes.byteOffset, bytes.byteLength);

export class Buffer extends Uint8Array {
    static get [Symbol.species]() { return Buffer; }

    static from(value, encodingOrOffset, length) {
        if (typeof value === 'string') return wrap(encode(value, encodingOrOffset));
        if (value instanceof ArrayBuffer) return new Buffer(value, encodingOrOffset, length);
        if (ArrayBuffer.isView(value)) return wrap(new Uint8Array(value));
        if (value?.type === 'Buffer' && Array.isArray(value.data)) return wrap(Uint8Array.from(value.data));
        if (Array.isArray(value) || typeof value?.length === 'number') return wrap(Uint8Array.from(value));
        const primitive = value?.valueOf?.();
        if (primitive !== undefined && primitive !== null && primitive !== value) return Buffer.from(primitive, encodingOrOffset, length);
        throw new TypeError('Buffer.from wants a string, a Buffer, an ArrayBuffer or an array');
    }
    static of(...bytes) { return Buffer.from(bytes); }
    static alloc(size, fill, encoding) {
        const buffer = new Buffer(size);
        return fill === undefined ? buffer : buffer.fill(fill, 0, size, encoding);
    }
    static allocUnsafe(size) { return new Buffer(size); }
    static byteLength(value, encoding) { return typeof value === 'string' ? encode(value, encoding).length : bytesOf(value).length; }
    static isBuffer(value) { return value instanceof Buffer; }
    static isEncoding(name) { return ENCODINGS[String(name).toLowerCase()] !== undefined; }
    static concat(list, length = list.reduce((sum, item) => sum + item.length, 0)) {
        const whole = Buffer.alloc(length);
        let place = 0;
        for (const item of list) {
            if (place >= length) break;
            whole.set(item.subarray(0, length - place), place);
            place += item.length;
        }
        return whole;
    }
    static compare(a, b) {
        for (let i = 0; i < Math.min(a.length, b.length); i++) if (a[i] !== b[i]) return a[i] < b[i] ? -1 : 1;
        return Math.sign(a.length - b.length);
    }

    toString(encoding, start = 0, end = this.length) { return decode(plain(this).subarray(start, end), encoding); }
    toLocaleString(encoding) { return this.toString(encoding); }
    toJSON() { return { type: 'Buffer', data: Array.from(plain(this)) }; }
    equals(other) { return Buffer.compare(this, other) === 0; }
    compare(other) { return Buffer.compare(this, other); }
    slice(start, end) { return this.subarray(start, end); }
    write(text, offset = 0, length = this.length - offset, encoding = 'utf8') {
        if (typeof offset === 'string') [encoding, offset, length] = [offset, 0, this.length];
        else if (typeof length === 'string') [encoding, length] = [length, this.length - offset];
        let bytes = encode(text, encoding).subarray(0, Math.min(length, this.length - offset));
        if (encodingOf(encoding) === 'utf8') bytes = bytes.subarray(0, host.wholeUtf8(bytes));
        this.set(bytes, offset);
        return bytes.length;
    }
    copy(target, targetStart = 0, start = 0, end = this.length) {
        const part = plain(this).subarray(start, Math.min(end, start + target.length - targetStart));
        target.set(part, targetStart);
        return part.length;
    }
    fill(value, start = 0, end = this.length, encoding) {
        if (typeof value === 'string') {
            if (typeof start === 'string') [encoding, start, end] = [start, 0, this.length];
            const bytes = encode(value, encoding);
            for (let i = start; i < end; i++) this[i] = bytes.length > 0 ? bytes[(i - start) % bytes.length] : 0;
            return this;
        }
        return super.fill(value, start, end);
    }
    indexOf(value, from = 0, encoding) {
        if (typeof value === 'number') return super.indexOf(value, from);
        const wanted = typeof value === 'string' ? encode(value, encoding) : value;
        for (let i = from; i <= this.length - wanted.length; i++) if (wanted.every((byte, j) => this[i + j] === byte)) return i;
        return -1;
    }
    includes(value, from, encoding) { return this.indexOf(value, from, encoding) >= 0; }
}

/** The numbers that binary formats are made of, by DataView. */
const view = (buffer) => new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
for (const [name, method, size] of [
    ['UInt8', 'Uint8', 1], ['Int8', 'Int8', 1], ['UInt16', 'Uint16', 2], ['Int16', 'Int16', 2], ['UInt32', 'Uint32', 4], ['Int32', 'Int32', 4],
    ['BigUInt64', 'BigUint64', 8], ['BigInt64', 'BigInt64', 8], ['Float', 'Float32', 4], ['Double', 'Float64', 8],
]) {
    for (const [ending, little] of size === 1 ? [['', true]] : [['LE', true], ['BE', false]]) {
        Object.defineProperty(Buffer.prototype, `read${name}${ending}`, {
            value(offset = 0) { return view(this)[`get${method}`](offset, little); }, configurable: true, writable: true,
        });
        Object.defineProperty(Buffer.prototype, `write${name}${ending}`, {
            value(value, offset = 0) {
                view(this)[`set${method}`](offset, value, little);
                return offset + size;
            },
            configurable: true, writable: true,
        });
    }
}
