// setTimeout and its like, on the event loop; performance.now on the monotonic clock.
import { host } from '../host.js';
import { after, stop } from '../pending.js';

/** What Node returns: an object that is also a number. */
class Timer {
    #id;
    #stopped = false;
    constructor(callback, ms, args, again) {
        if (typeof callback !== 'function') throw new TypeError('a timer wants a function');
        const wait = Math.max(Number(ms) || 0, again ? 1 : 0);
        const turn = () => {
            if (again) this.#id = after(wait, turn);
            try {
                callback(...args);
            } catch (error) {
                // Nobody awaits a timer: as a promise that was rejected it is logged with its stack.
                Promise.reject(error);
            }
        };
        this.#id = after(wait, turn);
    }
    static stop(timer) {
        if (timer instanceof Timer && !timer.#stopped) {
            timer.#stopped = true;
            stop(timer.#id);
        }
    }
    ref() { return this; }
    unref() { return this; }
    hasRef() { return true; }
    refresh() { return this; }
    close() { Timer.stop(this); }
    [Symbol.toPrimitive]() { return this.#id; }
}

export const setTimeout = (callback, ms, ...args) => new Timer(callback, ms, args, false);
export const setInterval = (callback, ms, ...args) => new Timer(callback, ms, args, true);
export const setImmediate = (callback, ...args) => new Timer(callback, 0, args, false);
export const clearTimeout = (timer) => Timer.stop(timer);
export const clearInterval = clearTimeout;
export const clearImmediate = clearTimeout;

export function queueMicrotask(callback) {
    if (typeof callback !== 'function') throw new TypeError('queueMicrotask wants a function');
    Promise.resolve().then(() => callback());
}

export const performance = { now: () => host.now(), get timeOrigin() { return Date.now() - host.now(); } };
