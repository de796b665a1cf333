// Event, EventTarget, AbortController, AbortSignal.
import { after } from '../pending.js';
import { DOMException } from './dom_exception.js';

export class Event {
    constructor(type, { cancelable = false } = {}) {
        this.type = String(type);
        this.cancelable = cancelable;
        this.defaultPrevented = false;
        this.target = null;
    }
    preventDefault() { if (this.cancelable) this.defaultPrevented = true; }
    stopPropagation() {}
    stopImmediatePropagation() {}
}

export class EventTarget {
    #listeners = new Map();
    addEventListener(type, listener, { once = false } = {}) {
        if (!this.#listeners.has(type)) this.#listeners.set(type, new Map());
        this.#listeners.get(type).set(listener, once);
    }
    removeEventListener(type, listener) { this.#listeners.get(type)?.delete(listener); }
    dispatchEvent(event) {
        event.target = this;
        for (const [listener, once] of [...(this.#listeners.get(event.type) ?? [])]) {
            if (once) this.removeEventListener(event.type, listener);
            if (typeof listener === 'function') listener.call(this, event);
            else listener.handleEvent(event);
        }
        this[`on${event.type}`]?.(event);
        return !event.defaultPrevented;
    }
}

/** Aborts a signal; kept from scripts, who have controllers for it. */
let abort;

export class AbortSignal extends EventTarget {
    #aborted = false;
    #reason;
    onabort = null;
    static {
        abort = (signal, reason = new DOMException('This operation was aborted', 'AbortError')) => {
            if (signal.#aborted) return;
            signal.#aborted = true;
            signal.#reason = reason;
            signal.dispatchEvent(new Event('abort'));
        };
    }
    get aborted() { return this.#aborted; }
    get reason() { return this.#reason; }
    throwIfAborted() { if (this.#aborted) throw this.#reason; }
    static abort(reason) {
        const signal = new AbortSignal();
        abort(signal, reason);
        return signal;
    }
    static timeout(ms) {
        const signal = new AbortSignal();
        after(Number(ms) || 0, () => abort(signal, new DOMException('The operation was aborted due to timeout', 'TimeoutError')));
        return signal;
    }
    static any(signals) {
        const any = new AbortSignal();
        for (const signal of signals) {
            if (signal.aborted) abort(any, signal.reason);
            else signal.addEventListener('abort', () => abort(any, signal.reason), { once: true });
        }
        return any;
    }
}

export class AbortController {
    #signal = new AbortSignal();
    get signal() { return this.#signal; }
    abort(reason) { abort(this.#signal, reason); }
}
