// What createSync and createAction are given, checked once, where the author's line is on the stack. Options that nobody
// knows pass: scripts written for elsewhere have some.
import { isArray, ownKeys } from './host.js';

const shown = (value) => {
    if (value === null) return 'null';
    if (isArray(value)) return 'an array';
    if (typeof value === 'string') return `the text ${JSON.stringify(value.slice(0, 50))}`;
    if (typeof value === 'number' || typeof value === 'boolean' || typeof value === 'bigint') return String(value);
    return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
};

const isObject = (value) => typeof value === 'object' && value !== null && !isArray(value);
const isText = (value) => typeof value === 'string';
const isSchema = (value) => isObject(value) && typeof value._zod === 'object';

/** What is wrong with a value that should be a zod model or a JSON Schema; undefined if nothing is. */
function wrongSchema(value) {
    if (isSchema(value)) return undefined;
    if (!isObject(value)) return `wants a zod model (z.object({ … })) or a JSON Schema, and is ${shown(value)}`;
    if (value instanceof Promise || value instanceof Map || value instanceof Date) return 'wants a zod model (z.object({ … })) or a JSON Schema, and is neither';
    const field = ownKeys(value).find((key) => isSchema(value[key]));
    return field === undefined ? undefined : `is a plain object of zod models (${field} is one): write z.object({ … }) around it`;
}

function models(given) {
    if (isArray(given)) {
        const place = given.findIndex((name) => !isText(name));
        return place < 0 ? undefined : `wants names that are texts, and the one at ${place} is ${shown(given[place])}`;
    }
    if (!isObject(given)) return `wants an object of models, { Issue: z.object({ … }) }, or an array of their names, and is ${shown(given)}`;
    if (isSchema(given)) return 'is a model itself: name it, models: { Issue }';
    for (const name of ownKeys(given)) {
        const wrong = wrongSchema(given[name]);
        if (wrong !== undefined) return [name, wrong];
    }
    return undefined;
}

function ignored(given) {
    if (!isObject(given)) return `wants an object, { Issue: ['fetchedAt'] }, and is ${shown(given)}`;
    const name = ownKeys(given).find((name) => !isArray(given[name]) || !given[name].every(isText));
    return name === undefined ? undefined : [name, 'wants an array of field names'];
}

const text = (value) => (isText(value) ? undefined : `wants a text, and is ${shown(value)}`);
const flag = (value) => (typeof value === 'boolean' ? undefined : `wants true or false, and is ${shown(value)}`);
const texts = (value) => (isArray(value) && value.every(isText) ? undefined : `wants an array of texts, and is ${shown(value)}`);
const oneOf = (...words) => (value) => (words.includes(value) ? undefined : `wants '${words.join("' or '")}', and is ${shown(value)}`);
const method = (value) => (typeof value === 'function' ? undefined : `wants an async function, and is ${value === undefined ? 'not there' : shown(value)}`);

/** The options of both kinds, and what is wrong with each. */
const COMMON = {
    name: text, description: text, version: text, models, metadata: wrongSchema, config: wrongSchema, baseUrl: text, hosts: texts, ignore: ignored,
};
const KNOWN = {
    sync: {
        ...COMMON, frequency: text, autoStart: flag, checkpoint: wrongSchema, mode: oneOf('full-refresh', 'incremental'),
        syncType: oneOf('full', 'incremental', 'FULL', 'INCREMENTAL'), trackDeletes: flag,
    },
    action: { ...COMMON, input: wrongSchema, output: wrongSchema },
};

/** Throws a TypeError that names the option. `of` is what was called with them. */
export function check(kind, options, of) {
    if (!isObject(options)) throw new TypeError(`${of} wants an object of options, and was given ${shown(options)}`);
    const wrongExec = method(options.exec);
    if (wrongExec !== undefined) throw new TypeError(`${of}: the option exec ${wrongExec}`);
    if (kind === 'sync' && (options.models ?? undefined) === undefined) throw new TypeError(`${of}: the option models is missing: models: { Issue: z.object({ id: z.string() }) }`);
    const known = KNOWN[kind];
    for (const name of ownKeys(known)) {
        const value = options[name];
        if (value === undefined || value === null) continue;
        const wrong = known[name](value);
        if (isArray(wrong)) throw new TypeError(`${of}: the option ${name}.${wrong[0]} ${wrong[1]}`);
        if (wrong !== undefined) throw new TypeError(`${of}: the option ${name} ${wrong}`);
    }
}
