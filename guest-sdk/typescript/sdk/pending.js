// What the event loop answers: requests under way and timers. `settle` and `fire` are called by the engine alone.
import { host, mapDelete, mapGet, mapSet } from './host.js';

const requests = new Map();
const timers = new Map();

/**
 * Sends a request. `asked`: method, url, headers and query (flat lists of names and values), body (text or bytes),
 * timeoutMs, retries, retryOn, redirects, want ('data', 'text', 'bytes'). Resolves to `{ status, headers, body }`,
 * headers flat; rejects with the host's `{ kind, message }`.
 */
export function send(asked) {
    return new Promise((resolve, reject) => {
        mapSet(requests, host.request(asked), { resolve, reject });
    });
}

export function settle(id, error, status, headers, body) {
    const waiting = mapGet(requests, id);
    mapDelete(requests, id);
    if (waiting === undefined) return;
    if (error !== null) waiting.reject(error);
    else waiting.resolve({ status, headers, body });
}

/** Calls a function after some milliseconds; what comes back stops it. */
export function after(ms, callback) {
    const id = host.setTimer(ms);
    mapSet(timers, id, callback);
    return id;
}

export function stop(id) {
    if (mapDelete(timers, id)) host.clearTimer(id);
}

export function fire(id) {
    const callback = mapGet(timers, id);
    mapDelete(timers, id);
    callback?.();
}
