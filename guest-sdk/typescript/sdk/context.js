// What a script's exec is given: `terapi`, or `nango` by its other name.
import { freeze, host, isArray, parse, stringify } from './host.js';
import { request } from './client.js';
import { paginate } from './paginate.js';
import { ActionError, notHere } from './failure.js';
import { format } from './globals/console.js';

const LEVELS = ['debug', 'info', 'warn', 'error'];

/** `log(message)`, `log(message, level)`, `log(message, { level: 'warn' })`, `log(message, object)`. */
function log(args) {
    let level = 'info';
    const last = args.at(-1);
    if (args.length > 1 && typeof last === 'string' && LEVELS.includes(last)) {
        level = last;
        args = args.slice(0, -1);
    } else if (args.length > 1 && typeof last === 'object' && last !== null && LEVELS.includes(last.level)) {
        level = last.level;
        const { level: _, ...rest } = last;
        args = Object.keys(rest).length > 0 ? [...args.slice(0, -1), rest] : args.slice(0, -1);
    }
    const [message, ...rest] = args;
    let fields;
    try {
        if (rest.length === 1 && typeof rest[0] === 'object' && rest[0] !== null && !isArray(rest[0]) && !(rest[0] instanceof Error)) fields = stringify(rest[0]);
        else if (rest.length > 0) fields = stringify({ values: rest.map((value) => (value instanceof Error ? format([value]) : value)) });
    } catch {
        fields = undefined; // A cycle: what follows shows it.
    }
    host.log(level, fields === undefined ? format(args) : format([message]), fields ?? null);
}

/** What is fixed about the connection, in the field names that scripts know. */
function connection() {
    const said = host.connection();
    const known = {
        ...said,
        connection_id: said.connection_id ?? said.id,
        provider_config_key: said.provider_config_key ?? said.integration,
        connection_config: said.connection_config ?? said.config ?? {},
        metadata: said.metadata ?? host.metadata(),
    };
    if (said.credentials === undefined) {
        Object.defineProperty(known, 'credentials', {
            enumerable: false,
            get() {
                throw notHere("the connection's credentials", 'a script never sees them, requests carry them by themselves');
            },
        });
    }
    return known;
}

function token() {
    const { credentials } = host.connection();
    if (credentials === undefined) throw notHere('getToken', 'a script never sees the credential, requests carry it by themselves');
    return credentials.access_token ?? credentials.token ?? credentials.apiKey ?? credentials;
}

/** Both kinds of scripts have these. */
export class Context {
    constructor(script, run) {
        const known = host.connection();
        this.scriptType = script.kind;
        this.connectionId = known.connection_id ?? known.id ?? run.connection;
        this.providerConfigKey = known.provider_config_key ?? known.integration ?? '';
        this.provider = known.provider ?? this.providerConfigKey;
        this.variant = run.variant;
        this.runId = run.runId;
        this.activityLogId = run.runId;
        this.config = parse(run.config);
        this.abortSignal = new AbortController().signal;
    }

    get(config) { return request({ ...config, method: 'GET' }); }
    post(config) { return request({ ...config, method: 'POST' }); }
    put(config) { return request({ ...config, method: 'PUT' }); }
    patch(config) { return request({ ...config, method: 'PATCH' }); }
    delete(config) { return request({ ...config, method: 'DELETE' }); }
    head(config) { return request({ ...config, method: 'HEAD' }); }
    proxy(config) { return request(config); }
    paginate(config) { return paginate(config); }

    /** `fetch` under the name by which some scripts know it; it passes the operator's policy like every request. */
    uncontrolledFetch({ url, method, headers, body }) { return fetch(url, { method, headers, body }); }

    async log(...args) { log(args); }

    async getConnection() { return connection(); }
    async getToken() { return token(); }
    async getMetadata() { return host.metadata(); }
    async setMetadata(metadata) { host.setMetadata(stringify(metadata)); }
    async updateMetadata(fields) { host.updateMetadata(stringify(fields)); }
    async updateConnectionConfig() { throw notHere('updateConnectionConfig', "the operator sets the connection's config"); }

    async getRecordsByIds(ids, model) {
        const asked = new Map(ids.map((id) => [String(id), id]));
        const flat = host.getByIds(model, [...asked.keys()]);
        const found = new Map();
        for (let i = 0; i < flat.length; i += 2) found.set(asked.get(flat[i]), flat[i + 1]);
        return found;
    }

    /** The records of a model, one by one, those that changed longest ago first. */
    async *listRecords(model, options) {
        const { model: name, limit = 1000 } = typeof model === 'object' ? model : { ...options, model };
        let after = null;
        do {
            const page = host.list(name, after, Math.min(Math.max(Number(limit) || 1000, 1), 1000));
            for (let i = 1; i < page.entries.length; i += 2) yield page.entries[i];
            after = page.next ?? null;
        } while (after !== null);
    }

    async zodValidateInput({ zodSchema, input }) {
        const parsed = zodSchema.safeParse(input);
        if (parsed.success) return parsed;
        for (const issue of parsed.error.issues) {
            log([`Invalid input: ${issue.message} at path ${issue.path.join('.')}`, { level: 'error' }]);
        }
        throw new ActionError({ message: 'Invalid input provided', type: 'invalid_input', errors: parsed.error.issues });
    }

    async getFlowAttributes() { return {}; }
    async setMergingStrategy() {}
}

Context.prototype.ActionError = ActionError;

/** What other platforms' scripts can call and this one does not have. */
const NOT_HERE = {
    getWebhookURL: 'Terapi receives no webhooks for a script',
    getRawWebhookURL: 'Terapi receives no webhooks for a script',
    getEnvironmentVariables: "a script has no environment: use the sync's config, context.config",
    getIntegration: 'integrations are configured by the operator',
    triggerSync: 'the scheduler decides when a sync runs',
    startSync: 'the scheduler decides when a sync runs',
    pauseSync: 'the scheduler decides when a sync runs',
    syncStatus: 'ask the API for it',
    triggerAction: 'call the function of the other script by an import',
    deleteRecordsFromPreviousExecutions: 'use trackDeletesStart and trackDeletesEnd, or the option trackDeletes: true',
};
for (const name of Object.keys(NOT_HERE)) {
    Context.prototype[name] = async function () { throw notHere(name, NOT_HERE[name]); };
}

/** A row as it is saved: its id is a string, in the record too. */
function withTextId(row, index, model) {
    if (typeof row !== 'object' || row === null || isArray(row)) throw new TypeError(`row ${index} for the model ${model} is not an object`);
    const { id } = row;
    if (typeof id === 'string') return row;
    if (typeof id === 'number' || typeof id === 'bigint') return { ...row, id: String(id) };
    throw new TypeError(`row ${index} for the model ${model} has no id: it must be a string or a number, and is ${id === null ? 'null' : typeof id}`);
}

function rows(given, model) {
    if (!isArray(given)) throw new TypeError(`a batch for the model ${model} must be an array, and is ${given === null ? 'null' : typeof given}`);
    if (typeof model !== 'string') throw new TypeError('the name of the model must be a text: batchSave(rows, "Issue")');
    const checked = new Array(given.length);
    for (let i = 0; i < given.length; i++) checked[i] = withTextId(given[i], i, model);
    return checked;
}

const idOf = (row) => (typeof row === 'object' && row !== null ? row.id : row);

/** A sync's own calls. */
export class SyncContext extends Context {
    constructor(script, run) {
        super(script, run);
        const last = host.lastSyncDate();
        this.lastSyncDate = last === null ? undefined : new Date(last);
        this.syncVariant = run.variant;
    }

    async batchSave(given, model) { return host.batchSave(model, rows(given, model)); }
    async batchUpdate(given, model) { return host.batchUpdate(model, rows(given, model)); }

    /** Rows with an id, or ids; resolves to how many were there. */
    async batchDelete(given, model) {
        if (!isArray(given)) throw new TypeError(`a batch for the model ${model} must be an array`);
        return host.batchDelete(model, rows(given.map((row) => ({ id: idOf(row) })), model).map((row) => row.id));
    }

    async trackDeletesStart(model) { host.trackDeletesStart(model); }

    async trackDeletesEnd(model) {
        const deletedKeys = [];
        let after = null;
        do {
            const page = host.unseen(model, after);
            deletedKeys.push(...page.ids);
            after = page.next ?? null;
        } while (after !== null);
        host.trackDeletesEnd(model);
        return { deletedKeys };
    }

    async getCheckpoint() { return host.checkpoint(); }
    async saveCheckpoint(checkpoint) {
        if (typeof checkpoint !== 'object' || checkpoint === null || isArray(checkpoint)) throw new TypeError('a checkpoint is an object of texts, numbers and booleans');
        host.saveCheckpoint(stringify(checkpoint));
    }
    async clearCheckpoint() { host.clearCheckpoint(); }
}

/** An action's: it reads, and answers. */
export class ActionContext extends Context {}

for (const name of ['batchSave', 'batchUpdate', 'batchDelete', 'trackDeletesStart', 'trackDeletesEnd', 'getCheckpoint', 'saveCheckpoint', 'clearCheckpoint']) {
    ActionContext.prototype[name] = async function () { throw notHere(name, 'an action writes no records and has no checkpoint'); };
}
freeze(LEVELS);
