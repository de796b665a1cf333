// Errors: the ones the SDK throws, and what becomes of the one that ends a run.
import { ownKeys, stringify } from './host.js';

/** An action's own error: `payload` is any JSON, and goes to the caller as it is. */
export class ActionError extends Error {
    constructor(payload) {
        super(messageOf(payload));
        this.name = 'ActionError';
        this.type = 'action_script_runtime_error';
        this.payload = payload ?? {};
    }
}

function messageOf(payload) {
    if (typeof payload === 'string') return payload;
    if (typeof payload?.message === 'string') return payload.message;
    return payload === undefined ? '' : (stringify(payload) ?? '');
}

/** An error of the SDK or the host: `kind` is a word to tell it by. */
export function hostError(kind, message) {
    const error = new Error(message);
    error.kind = kind;
    return error;
}

/** What cannot be had here, and why. */
export function notHere(call, why) {
    return hostError('not-here', `${call} is not available in Terapi: ${why}`);
}

/** Kinds after which the same run may well succeed later. */
const TRANSIENT_KINDS = ['timed-out', 'transport', 'storage', 'lease-lost'];

function isTransient(error) {
    if (TRANSIENT_KINDS.includes(error?.kind)) return true;
    const status = error?.response?.status;
    return status === 408 || status === 429 || status >= 500;
}

/** Frames without the SDK's own, if any are left. */
function frames(stack) {
    if (typeof stack !== 'string') return '';
    const all = stack.split('\n').filter((line) => line.trim() !== '');
    const own = all.filter((line) => !line.includes('(terapi:') && !line.includes('(native)'));
    return (own.length > 0 ? own : all).join('\n');
}

/** Says of an error that is thrown later, from an answer, where the script asked for it: QuickJS has no stacks across `await`. */
export function calledFrom(error, call) {
    Object.defineProperty(error, 'stack', { value: call.stack, writable: true, configurable: true, enumerable: false });
    return error;
}

/** How many causes of causes are shown. */
const MOST_CAUSES = 5;

/** Message and stack of anything that was thrown, and of what caused it. */
export function explain(thrown) {
    const told = [];
    for (let next = thrown; told.length <= MOST_CAUSES; next = next.cause) {
        told.push(explainOne(next));
        if (!(next instanceof Error) || next.cause === undefined) break;
    }
    return told.join('\ncaused by: ');
}

function explainOne(thrown) {
    if (thrown instanceof Error || (typeof thrown === 'object' && thrown !== null && typeof thrown.stack === 'string')) {
        const name = typeof thrown.name === 'string' && thrown.name !== 'Error' ? `${thrown.name}: ` : '';
        const stack = frames(thrown.stack);
        return `${name}${String(thrown.message)}${stack === '' ? '' : `\n${stack}`}`;
    }
    if (typeof thrown === 'string') return `the script threw a text: ${thrown}`;
    if (thrown === null) return 'the script threw null, which QuickJS does too where no memory is left';
    let text;
    try {
        text = stringify(thrown);
    } catch {
        text = undefined;
    }
    return `the script threw ${typeof thrown === 'object' ? 'an object that is no Error' : `a ${typeof thrown}`}: ${text ?? String(thrown)}`;
}

/** What ended a run, as the host's `failure`. */
export function failure(thrown) {
    const failed = { message: '', permanent: true };
    try {
        failed.message = explain(thrown);
        failed.permanent = !isTransient(thrown);
        const details = detailsOf(thrown);
        if (details !== undefined) failed.details = stringify(details);
        const retryAfter = Number(thrown?.response?.headers?.['retry-after']);
        if (retryAfter > 0) failed.retryAfterMs = retryAfter * 1000;
    } catch (error) {
        failed.message ||= `the script threw something that cannot be shown (${error})`;
    }
    return failed;
}

function detailsOf(thrown) {
    if (thrown instanceof ActionError) return thrown.payload;
    const response = thrown?.response;
    if (response && typeof response.status === 'number') return { status: response.status, data: response.data };
    if (typeof thrown === 'object' && thrown !== null && !(thrown instanceof Error) && ownKeys(thrown).length > 0) return thrown;
    return undefined;
}
