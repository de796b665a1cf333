// console, to the run's log.
import { host, ownKeys } from '../host.js';

/** A value as a person reads it: as Node's console shows it, only shorter. */
function show(value, depth, seen) {
    switch (typeof value) {
        case 'string':
            return depth === 0 ? value : JSON.stringify(value);
        case 'bigint':
            return `${value}n`;
        case 'symbol':
            return value.toString();
        case 'function':
            return `[Function: ${value.name || 'anonymous'}]`;
        case 'object':
            return value === null ? 'null' : showObject(value, depth, seen);
        default:
            return Object.is(value, -0) ? '-0' : String(value);
    }
}

function showObject(value, depth, seen) {
    if (seen.includes(value)) return '[Circular]';
    if (value instanceof Error) return `${value.name}: ${value.message}${value.stack ? `\n${value.stack}` : ''}`.trimEnd();
    if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'Invalid Date' : value.toISOString();
    if (value instanceof RegExp) return String(value);
    if (value instanceof Promise) return 'Promise';
    if (depth > 4) return Array.isArray(value) ? '[Array]' : '[Object]';
    const inner = [...seen, value];
    const list = (items, open, close, most = 100) => {
        const shown = items.slice(0, most);
        if (items.length > most) shown.push(`… ${items.length - most} more`);
        return shown.length === 0 ? open + close : `${open} ${shown.join(', ')} ${close}`;
    };
    if (Array.isArray(value)) return list(value.map((item) => show(item, depth + 1, inner)), '[', ']');
    if (ArrayBuffer.isView(value)) return `${value.constructor?.name ?? 'View'}(${value.byteLength} bytes)`;
    if (value instanceof Map) {
        return `Map(${value.size}) ${list([...value].map(([key, item]) => `${show(key, depth + 1, inner)} => ${show(item, depth + 1, inner)}`), '{', '}')}`;
    }
    if (value instanceof Set) return `Set(${value.size}) ${list([...value].map((item) => show(item, depth + 1, inner)), '{', '}')}`;
    if (value instanceof URL) return value.href;
    const name = value.constructor?.name;
    const fields = ownKeys(value).map((key) => `${/^[A-Za-z_$][\w$]*$/.test(key) ? key : JSON.stringify(key)}: ${show(value[key], depth + 1, inner)}`);
    return `${name && name !== 'Object' ? `${name} ` : ''}${list(fields, '{', '}')}`;
}

/** Arguments of a log call as one text; `%s %d %i %f %j %o %O %%` as Node has them. */
export function format(args) {
    const rest = [...args];
    let text = '';
    if (typeof rest[0] === 'string' && rest.length > 1) {
        const pattern = rest.shift();
        text = pattern.replace(/%[sdifjoOc%]/g, (mark) => {
            if (mark === '%%') return '%';
            if (rest.length === 0) return mark;
            const value = rest.shift();
            switch (mark) {
                case '%s': return show(value, 0, []);
                case '%d': return String(Number(value));
                case '%i': return String(Number.parseInt(value, 10));
                case '%f': return String(Number.parseFloat(value));
                case '%j': return JSON.stringify(value);
                case '%c': return '';
                default: return show(value, 1, []);
            }
        });
        if (rest.length > 0) text += ' ';
    }
    return text + rest.map((value) => show(value, 0, [])).join(' ');
}

const counts = new Map();
const timers = new Map();
const to = (level) => (...args) => {
    let text;
    try {
        text = format(args);
    } catch (error) {
        text = `(a value that cannot be shown: ${error})`;
    }
    host.log(level, text, null);
};

export const console = {
    debug: to('debug'),
    trace: to('debug'),
    log: to('info'),
    info: to('info'),
    dir: to('info'),
    table: to('info'),
    group: to('info'),
    groupCollapsed: to('info'),
    groupEnd() {},
    warn: to('warn'),
    error: to('error'),
    assert(holds, ...args) { if (!holds) to('error')('Assertion failed', ...args); },
    count(label = 'default') {
        counts.set(label, (counts.get(label) ?? 0) + 1);
        to('info')(`${label}: ${counts.get(label)}`);
    },
    countReset(label = 'default') { counts.delete(label); },
    time(label = 'default') { timers.set(label, host.now()); },
    timeLog(label = 'default') { if (timers.has(label)) to('info')(`${label}: ${(host.now() - timers.get(label)).toFixed(1)} ms`); },
    timeEnd(label = 'default') {
        console.timeLog(label);
        timers.delete(label);
    },
};
