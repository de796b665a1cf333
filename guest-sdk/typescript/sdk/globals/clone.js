// structuredClone: JSON's types, and dates, maps, sets, regular expressions, errors, buffers; cycles too.
import { DOMException } from './dom_exception.js';

export function structuredClone(value) {
    try {
        return cloned(value, new Map());
    } catch (error) {
        // Of a value that nests too deeply: with the caller's place, which the frames of this file would hide.
        throw error instanceof RangeError ? new RangeError(error.message) : error;
    }
}

function cloned(value, seen) {
    if (typeof value === 'function' || typeof value === 'symbol') throw new DOMException(`${String(value)} could not be cloned.`, 'DataCloneError');
    if (typeof value !== 'object' || value === null) return value;
    if (seen.has(value)) return seen.get(value);
    const keep = (copy) => {
        seen.set(value, copy);
        return copy;
    };
    if (Array.isArray(value)) {
        const copy = keep(new Array(value.length));
        for (const key of Object.keys(value)) copy[key] = cloned(value[key], seen);
        return copy;
    }
    if (value instanceof Date) return keep(new Date(value.getTime()));
    if (value instanceof RegExp) return keep(new RegExp(value.source, value.flags));
    if (value instanceof ArrayBuffer) return keep(value.slice(0));
    if (value instanceof DataView) return keep(new DataView(cloned(value.buffer, seen), value.byteOffset, value.byteLength));
    if (ArrayBuffer.isView(value)) {
        const type = value instanceof Uint8Array ? Uint8Array : value.constructor;
        return keep(new type(value.buffer.slice(value.byteOffset, value.byteOffset + value.byteLength)));
    }
    if (value instanceof Map) {
        const copy = keep(new Map());
        for (const [key, item] of value) copy.set(cloned(key, seen), cloned(item, seen));
        return copy;
    }
    if (value instanceof Set) {
        const copy = keep(new Set());
        for (const item of value) copy.add(cloned(item, seen));
        return copy;
    }
    if (value instanceof Error) {
        const type = { EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError }[value.name] ?? Error;
        const copy = keep(new type(value.message));
        if (value.cause !== undefined) copy.cause = cloned(value.cause, seen);
        return copy;
    }
    if (value instanceof Boolean || value instanceof Number || value instanceof String) return keep(Object(value.valueOf()));
    if (value instanceof Promise || value instanceof WeakMap || value instanceof WeakSet) throw new DOMException(`#<${value.constructor.name}> could not be cloned.`, 'DataCloneError');
    const copy = keep({});
    for (const key of Object.keys(value)) copy[key] = cloned(value[key], seen);
    return copy;
}
