// TextEncoder, TextDecoder, atob, btoa.
import { host } from '../host.js';

/** Any view or buffer as bytes, without a copy. */
export function bytesOf(data) {
    if (data === undefined) return new Uint8Array(0);
    if (data instanceof ArrayBuffer) return new Uint8Array(data);
    if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    throw new TypeError('bytes must be an ArrayBuffer or a view of one');
}

export class TextEncoder {
    get encoding() { return 'utf-8'; }
    encode(text = '') { return host.encodeUtf8(String(text)); }
    encodeInto(text, into) {
        let read = 0;
        let written = 0;
        for (const character of String(text)) {
            const bytes = host.encodeUtf8(character);
            if (written + bytes.length > into.length) break;
            into.set(bytes, written);
            written += bytes.length;
            read += character.length;
        }
        return { read, written };
    }
}

const LABELS = {
    'utf-8': 'utf-8', utf8: 'utf-8', 'unicode-1-1-utf-8': 'utf-8',
    'utf-16le': 'utf-16le', 'utf-16': 'utf-16le', ucs2: 'utf-16le', 'ucs-2': 'utf-16le',
    latin1: 'windows-1252', 'iso-8859-1': 'windows-1252', ascii: 'windows-1252', 'us-ascii': 'windows-1252', 'windows-1252': 'windows-1252',
};
/** What windows-1252 has where Latin-1 has control characters. */
const WINDOWS = '€\x81‚ƒ„…†‡ˆ‰Š‹Œ\x8DŽ\x8F\x90‘’“”•–—˜™š›œ\x9DžŸ';

export class TextDecoder {
    #encoding;
    #fatal;
    #ignoreBOM;
    #kept = new Uint8Array(0);
    #started = false;
    constructor(label = 'utf-8', { fatal = false, ignoreBOM = false } = {}) {
        const encoding = LABELS[String(label).trim().toLowerCase()];
        if (encoding === undefined) throw new RangeError(`the encoding ${label} is not available: utf-8, utf-16le and latin1 are`);
        this.#encoding = encoding;
        this.#fatal = Boolean(fatal);
        this.#ignoreBOM = Boolean(ignoreBOM);
    }
    get encoding() { return this.#encoding; }
    get fatal() { return this.#fatal; }
    get ignoreBOM() { return this.#ignoreBOM; }
    decode(data, { stream = false } = {}) {
        let bytes = bytesOf(data);
        if (this.#kept.length > 0) {
            const joined = new Uint8Array(this.#kept.length + bytes.length);
            joined.set(this.#kept);
            joined.set(bytes, this.#kept.length);
            bytes = joined;
        }
        this.#kept = new Uint8Array(0);
        if (stream) {
            const whole = this.#encoding === 'utf-8' ? host.wholeUtf8(bytes) : this.#encoding === 'utf-16le' ? bytes.length & ~1 : bytes.length;
            this.#kept = bytes.slice(whole);
            bytes = bytes.subarray(0, whole);
        }
        let text = this.#text(bytes);
        if (!this.#started && !this.#ignoreBOM && text.charCodeAt(0) === 0xfeff) text = text.slice(1);
        this.#started = stream && (this.#started || bytes.length > 0);
        return text;
    }
    #text(bytes) {
        if (this.#encoding === 'windows-1252') return host.decodeLatin1(bytes).replace(/[\x80-\x9f]/g, (control) => WINDOWS[control.charCodeAt(0) - 0x80]);
        if (this.#encoding === 'utf-16le') {
            const text = host.decodeUtf16(bytes.subarray(0, bytes.length & ~1));
            if (this.#fatal && (bytes.length % 2 === 1 || !text.isWellFormed())) throw new TypeError('the bytes are not valid utf-16le');
            return text.toWellFormed() + (bytes.length % 2 === 1 ? '\ufffd' : '');
        }
        const text = host.decodeUtf8(bytes, this.#fatal);
        if (text === null) throw new TypeError('the bytes are not valid utf-8');
        return text;
    }
}

export function btoa(text) {
    const latin = String(text);
    if (/[^\x00-\xff]/.test(latin)) throw new DOMException('btoa takes characters up to U+00FF alone', 'InvalidCharacterError');
    return host.encodeBase64(host.encodeLatin1(latin), false);
}

export function atob(text) {
    const bytes = host.decodeBase64(String(text), true);
    if (bytes === null) throw new DOMException('the text is not Base64', 'InvalidCharacterError');
    return host.decodeLatin1(bytes);
}
