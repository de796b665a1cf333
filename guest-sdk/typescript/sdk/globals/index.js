// What scripts expect of the global object and QuickJS does not have.
import { host } from '../host.js';
import { AbortController, AbortSignal, Event, EventTarget } from './abort.js';
import { Buffer } from './buffer.js';
import { structuredClone } from './clone.js';
import { console } from './console.js';
import { crypto } from './crypto.js';
import { DOMException } from './dom_exception.js';
import { TextDecoder, TextEncoder, atob, btoa } from './encoding.js';
import { Function, eval_ } from './eval.js';
import { Headers, Request, Response, fetch } from './fetch.js';
import { clearImmediate, clearInterval, clearTimeout, performance, queueMicrotask, setImmediate, setInterval, setTimeout } from './timers.js';
import { URL, URLSearchParams } from './url.js';
import './locale.js';

const add = (object, values) => {
    for (const name of Object.keys(values)) Object.defineProperty(object, name, { value: values[name], writable: true, configurable: true, enumerable: false });
};

add(globalThis, {
    AbortController, AbortSignal, Buffer, DOMException, Event, EventTarget, Function, Headers, Request, Response, TextDecoder, TextEncoder,
    URL, URLSearchParams, atob, btoa, clearImmediate, clearInterval, clearTimeout, console, crypto, eval: eval_, fetch, global: globalThis,
    performance, queueMicrotask, setImmediate, setInterval, setTimeout, structuredClone,
    process: Object.freeze({ env: Object.freeze({}), nextTick: (callback, ...args) => queueMicrotask(() => callback(...args)) }),
});
// QuickJS seeds its own when the runtime is made, which was before the snapshot.
add(Math, { random: host.random });

const { parse } = JSON;
add(JSON, {
    parse: {
        parse(text, reviver) {
            const value = host.parseJson(text);
            return typeof reviver === 'function' ? parse(text, reviver) : value;
        },
    }.parse,
});
