// The two kinds of scripts, and the life of the one that this instance runs: adopted, described or run.
import { ownKeys, parse, stringify } from './host.js';
import { ActionError, failure } from './failure.js';
import { manifest } from './manifest.js';
import { check } from './options.js';
import { ActionContext, SyncContext } from './context.js';

/** What createSync and createAction return; nothing else passes for a script. */
class Script {
    constructor(kind, options) {
        Object.assign(this, options, { kind, type: kind, options });
        Object.freeze(this);
    }
}

export function createSync(options) {
    check('sync', options, 'createSync');
    return new Script('sync', options);
}

export function createAction(options) {
    check('action', options, 'createAction');
    return new Script('action', options);
}

let adopted;
let file;

/** Takes the entry module's exports; says which kind of script they are. */
export function adopt(exports, name) {
    file = name;
    adopted = scriptOf(exports, name);
    return adopted.kind;
}

function scriptOf(exports, name) {
    const main = exports.default;
    if (main instanceof Script) return main;
    if (typeof main === 'function') return classic(main, exports, name);
    if (main === undefined) {
        const others = ownKeys(exports);
        throw new TypeError(
            `${name} has no default export${others.length > 0 ? ` (it exports ${others.join(', ')})` : ''}: write ` +
                'export default createSync({ … }), export default createAction({ … }) or export default async function fetchData(terapi) { … }',
        );
    }
    throw new TypeError(`${name}: the default export is neither what createSync or createAction returned nor a function`);
}

/** The classic form: a function, and the models beside it. An `input` or `output` export makes it an action. */
function classic(exec, exports, name) {
    const { models, input, output } = exports;
    const made = (kind, options) => {
        check(kind, options, name);
        return new Script(kind, options);
    };
    const said = { name: exports.name, version: exports.version, description: exports.description, frequency: exports.frequency };
    if (exec.name === 'runAction' || input !== undefined || output !== undefined) {
        return made('action', { ...said, input, output, models, exec: (context, given) => exec(context, given) });
    }
    if (models === undefined) {
        throw new TypeError(`${name} saves records of models that nothing names: add export const models = { Issue } with zod models, or export const models = ['Issue']`);
    }
    const { checkpoint, metadata, syncType, trackDeletes, mode, baseUrl, hosts } = exports;
    return made('sync', { ...said, models, checkpoint, metadata, syncType, trackDeletes, mode, baseUrl, hosts, exec });
}

export const describe = () => manifest(adopted, file);

/** Runs the script. Resolves to `{ output }` (JSON) or a failure; never rejects. */
export async function run(context, input) {
    try {
        if (adopted.kind === 'sync') {
            await adopted.options.exec(new SyncContext(adopted, context));
            return { output: 'null' };
        }
        const output = await adopted.options.exec(new ActionContext(adopted, context), checked(parse(input)));
        return { output: stringify(output) ?? 'null' };
    } catch (error) {
        return failure(error);
    }
}

/**
 * An action's input, which must fit its zod model: what does not is the caller's error. The script gets it as it came. No
 * input at all is null, undefined or an empty object, whatever the model takes.
 */
function checked(input) {
    const model = adopted.options.input;
    if (typeof model?.safeParse !== 'function') return input;
    const parsed = model.safeParse(input);
    if (parsed.success) return input;
    if (input === null || (typeof input === 'object' && ownKeys(input).length === 0)) {
        for (const none of [undefined, null, {}]) if (model.safeParse(none).success) return none;
    }
    const why = parsed.error.issues.map((issue) => `${issue.path.length > 0 ? `${issue.path.join('.')}: ` : ''}${issue.message}`).join('; ');
    throw new ActionError({ type: 'invalid_action_input', message: `the input does not fit the action: ${why}`, errors: parsed.error.issues });
}
