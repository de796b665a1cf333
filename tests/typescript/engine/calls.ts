// Each call of the SDK once, and how it fails where it can: against the APIs that tests have beside them.
import { createSync, createAction, z, ActionError, RequestError } from 'terapi';

let wrong: string[] = [];

function same(what: string, is: unknown, should: unknown) {
    const [a, b] = [JSON.stringify(is), JSON.stringify(should)];
    if (a !== b) wrong.push(`${what}: ${a} rather than ${b}`);
}

/** What it is rejected with must have these words. */
async function fails(what: string, call: () => unknown, ...words: string[]): Promise<any> {
    try {
        await call();
    } catch (error) {
        const said = `${(error as Error).name}: ${(error as Error).message} ${(error as any).kind ?? ''}`;
        for (const word of words) if (!said.includes(word)) wrong.push(`${what}: no ${word} in: ${said}`);
        return error;
    }
    wrong.push(`${what}: nothing was thrown`);
}

const Thing = z.object({ id: z.string(), n: z.number().optional(), m: z.number().optional() });
const ids = (records: { id: unknown }[]) => records.map((record) => record.id).sort();

async function requests(terapi: any) {
    const odd: string = terapi.config.odd;
    const issues = '/repos/octo/demo/issues';
    const answer = await terapi.get({ endpoint: issues, params: { per_page: 2, none: undefined } });
    same('get', [answer.status, answer.data.length, typeof answer.headers['content-type']], [200, 2, 'string']);
    same('a query in the endpoint gives way', (await terapi.get({ endpoint: `${issues}?per_page=3`, params: { per_page: 1 } })).data.length, 1);
    const error = await fails('an error status', () => terapi.get({ endpoint: `${odd}/status/404` }), 'AxiosError', '404');
    same('its answer', [error instanceof RequestError, error.response.status, error.status, error.code], [true, 404, 404, 'ERR_BAD_REQUEST']);
    same('post', (await terapi.post({ endpoint: `${odd}/echo`, data: { a: 'é' } })).data, 10);
    same('a form', (await terapi.post({ endpoint: `${odd}/echo`, data: { a: [1, 2] }, headers: { 'Content-Type': 'application/x-www-form-urlencoded' } })).data, 'a%5B%5D=1&a%5B%5D=2'.length);
    same('bytes', [...(await terapi.post({ endpoint: `${odd}/binary`, responseType: 'arraybuffer' })).data.subarray(0, 2)], [255, 254]);
    for (const method of ['put', 'patch', 'delete']) same(method, (await fails(method, () => terapi[method]({ endpoint: `${odd}/echo`, data: {} }), '405'))?.status, 405);
    same('head', (await terapi.head({ endpoint: `${odd}/nth` })).data, '');
    same('proxy', (await terapi.proxy({ method: 'get', endpoint: 'nth', baseUrlOverride: `${odd}/`, params: 'b=2' })).data, 'b=2');
    await fails('a request of nothing', () => terapi.proxy(), 'TypeError', 'endpoint');
    same('denied', (await fails('another host', () => terapi.get({ endpoint: 'https://example.com/' }), 'example.com')).kind, 'denied');
    same('too late', (await fails('a time', () => terapi.get({ endpoint: `${odd}/silent`, timeout: 20 }), 'time')).code, 'ECONNABORTED');
    same('uncontrolledFetch', await (await terapi.uncontrolledFetch({ url: new URL(`${odd}/nth?x=1`) })).text(), 'x=1');
    await fails('fetch', () => fetch('https://example.com/'), 'TypeError', 'fetch failed');
}

async function lists(terapi: any) {
    const api: string = terapi.config.api;
    const pages = async (config: any) => {
        const all = [];
        for await (const page of terapi.paginate(config)) all.push(page.length);
        return all;
    };
    same('by link', await pages({ endpoint: '/repos/octo/demo/issues', params: { per_page: 100, state: 'all' }, paginate: { type: 'link', link_rel_in_response_header: 'next' } }), [100, 100, 50]);
    // Stripe's `url` is a link to itself, counted from the origin.
    const itself = { params: { limit: 5 }, paginate: { type: 'link', link_path_in_response_body: 'url', response_path: 'data' } };
    same('a link with the path of the base URL', await pages({ ...itself, endpoint: '/customers', baseUrlOverride: `${api}/v1/` }), [5, 10]);
    same('a link without one', await pages({ ...itself, endpoint: 'v1/customers', baseUrlOverride: api }), [5, 10]);
    const members = { endpoint: '/users.list', paginate: { type: 'cursor', cursor_path_in_response: 'response_metadata.next_cursor', cursor_name_in_request: 'cursor', response_path: 'members', limit: 20 } };
    await fails('a limit by cursor without a name', () => pages(members), 'TypeError', 'limit_name_in_request');
    same('by cursor', await pages({ ...members, paginate: { ...members.paginate, limit_name_in_request: 'limit' } }), [20, 20]);
    const counted = { endpoint: '/repos/octo/demo/issues', params: { per_page: 100, state: 'all' }, paginate: { type: 'offset', offset_name_in_request: 'page', offset_start_value: 1, offset_calculation_method: 'per-page' } };
    same('by page number', await pages(counted), [100, 100, 50]);
    same('a limit without a name is not sent, and ends it', await pages({ ...counted, paginate: { ...counted.paginate, limit: 101 } }), [100]);
    await fails('no type', () => pages({ endpoint: '/x', paginate: {} }), 'TypeError', 'paginate.type');
    await fails('another type', () => pages({ endpoint: '/x', paginate: { type: 'zigzag' } }), 'TypeError', 'zigzag');
    await fails('an offset without a name', () => pages({ endpoint: '/x', paginate: { type: 'offset' } }), 'offset_name_in_request');
}

async function records(terapi: any) {
    same('batchSave', await terapi.batchSave([{ id: 1, n: 1 }, { id: 2 }, { id: '2', n: 2 }], 'Thing'), { added: 2, updated: 0, unchanged: 0, repeated: 1 });
    same('batchSave of nothing', (await terapi.batchSave([], 'Thing')).added, 0);
    await fails('no model of that name', () => terapi.batchSave([{ id: '1' }], 'Other'), 'Other', 'unknown-model');
    await fails('no id', () => terapi.batchSave([{ id: '1' }, { n: 1 }], 'Thing'), 'row 1', 'id');
    await fails('no list', () => terapi.batchSave({ id: '1' }, 'Thing'), 'TypeError', 'array');
    await fails('no model', () => terapi.batchSave([{ id: '1' }]), 'TypeError', 'model');
    same('batchUpdate', (await terapi.batchUpdate([{ id: '1', m: 3 }], 'Thing')).updated, 1);
    await fails('an update of a text', () => terapi.batchUpdate(['1'], 'Thing'), 'row 0');
    same('getRecordsByIds', [...(await terapi.getRecordsByIds([1, 9], 'Thing'))], [[1, { id: '1', n: 1, m: 3 }]]);
    await fails('of no model', () => terapi.getRecordsByIds(['1'], 'Other'), 'unknown-model');
    const all = [];
    for await (const record of terapi.listRecords('Thing')) all.push(record);
    same('listRecords', ids(all), ['1', '2']);
    await fails('of no model', () => terapi.listRecords('Other').next(), 'unknown-model');
    await fails('an end without a start', () => terapi.trackDeletesEnd('Thing'), 'not-allowed');
    await terapi.trackDeletesStart('Thing');
    await terapi.batchSave([{ id: '2', n: 2 }], 'Thing');
    await terapi.trackDeletesStart('Thing');
    same('trackDeletesEnd', await terapi.trackDeletesEnd('Thing'), { deletedKeys: ['1'] });
    await fails('an end once more', () => terapi.trackDeletesEnd('Thing'), 'not-allowed');
    same('batchDelete', await terapi.batchDelete([{ id: 2 }, 'nobody'], 'Thing'), 1);
    await fails('a delete of no list', () => terapi.batchDelete('2', 'Thing'), 'TypeError', 'array');
}

/** Rows are saved as JSON.stringify writes them. */
async function rows(terapi: any) {
    class Odd { id = 'odd'; own = 1; get inherited() { return 1; } }
    const hidden = Object.defineProperty({ id: 'hidden' }, 'no', { value: 1, enumerable: false });
    const all: any[] = [
        { id: 'numbers', list: [0, -0, 1.5, 1e21, 1e-7, 123456789.125, 2 ** 53, -1e-6, 5e-324, NaN, Infinity, 0.1 + 0.2, 1e20, 4294967296] },
        { id: 'texts', list: ['', '"\\/\b\f\n\r\t\x01\x1f\x7f', 'é', '日本', '😀', '\u2028', 'ÿĀ'], 'a "name"\n': 1, é: 2, 日: 3, 1: 'number' },
        { id: 'none', a: undefined, b: null, c: [undefined, null, , 1], d: () => 1, e: [() => 1], f: Symbol('s'), g: [Symbol('s')] },
        { id: 'nested', a: { b: { c: [[], {}, [{}]] } }, empty: {}, list: [] },
        { id: 'dates', at: new Date(0), json: { toJSON: () => ({ own: true }) }, url: new URL('https://a.test/'), buffer: Buffer.from('a'), map: new Map([[1, 2]]), error: new Error('x'), re: /a/ },
        { id: 'boxed', a: Object('text'), b: Object(1), c: Object(true) },
        { id: 'made', proxy: new Proxy({ a: 1 }, {}), bare: Object.assign(Object.create(null), { a: 1 }), odd: new Odd(), frozen: Object.freeze([1]) },
        new Odd(), hidden,
        { id: 'getter', get a() { return 1; }, get b() { return undefined; } },
        Object.fromEntries([['id', 'many'], ...Array.from({ length: 600 }, (_, i) => [`name${i}`, i])]),
    ];
    same('rows', (await terapi.batchSave(all, 'Thing')).added, all.length);
    const found = await terapi.getRecordsByIds(all.map((row) => row.id), 'Thing');
    for (const row of all) same(`the row ${row.id}`, sorted(found.get(row.id)), sorted(JSON.parse(JSON.stringify(row))));
    await fails('a BigInt', () => terapi.batchSave([{ id: 'a', n: 1n }], 'Thing'), 'TypeError', 'BigInt');
    const cycle: any = { id: 'a' };
    cycle.deep = [{ cycle }];
    await fails('a cycle', () => terapi.batchSave([cycle], 'Thing'), 'TypeError', 'circular');
    await fails('a getter that throws', () => terapi.batchSave([{ id: 'a', get b() { throw new Error('mine'); } }], 'Thing'), 'mine');
    await fails('a lone surrogate', () => terapi.batchSave([{ id: 'a', b: '\ud800' }], 'Thing'), 'surrogate');
    await terapi.batchDelete(all, 'Thing');
}

const sorted = (value: any): any =>
    typeof value !== 'object' || value === null ? value : Array.isArray(value) ? value.map(sorted) : Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]));

async function states(terapi: any) {
    same('no checkpoint', await terapi.getCheckpoint(), null);
    await terapi.saveCheckpoint({ page: 1, at: 'x', done: false });
    same('a checkpoint', await terapi.getCheckpoint(), { page: 1, at: 'x', done: false });
    await terapi.clearCheckpoint();
    same('cleared', await terapi.getCheckpoint(), null);
    await fails('a checkpoint that is a list', () => terapi.saveCheckpoint([1]), 'TypeError');
    await terapi.setMetadata({ a: 1, b: 2 });
    await terapi.updateMetadata({ b: 3 });
    same('metadata', await terapi.getMetadata(), { a: 1, b: 3 });
    await fails('metadata that is a list', () => terapi.setMetadata([1]), 'invalid');
    await fails('fields that are a list', () => terapi.updateMetadata([1]), 'invalid');
    same('lastSyncDate', terapi.lastSyncDate, undefined);
    const connection = await terapi.getConnection();
    same('getConnection', [connection.connection_id === terapi.connectionId, connection.metadata, connection.connection_config], [true, { a: 1, b: 3 }, {}]);
    await fails('credentials', () => connection.credentials, 'not-here');
    await fails('getToken', () => terapi.getToken(), 'not-here');
    for (const call of ['getEnvironmentVariables', 'getIntegration', 'triggerSync', 'startSync', 'pauseSync', 'syncStatus', 'triggerAction', 'getWebhookURL', 'updateConnectionConfig']) {
        await fails(call, () => terapi[call](), 'not available in Terapi', 'not-here');
    }
    same('zodValidateInput', (await terapi.zodValidateInput({ zodSchema: Thing, input: { id: 'a' } })).data, { id: 'a' });
    const refused = await fails('input that does not fit', () => terapi.zodValidateInput({ zodSchema: Thing, input: {} }), 'ActionError');
    same('its class', [refused instanceof ActionError, refused instanceof terapi.ActionError], [true, true]);
    await terapi.log('a word');
    await terapi.log('a level', { level: 'warn' });
    await terapi.log('fields', { a: 1 });
    const cycle: any = {};
    cycle.own = cycle;
    await terapi.log('a cycle', cycle);
    console.error('to the log, too');
}

export const refusals: [string, () => unknown, string[]][] = [
    ['no options', () => createSync(undefined as any), ['createSync', 'object']],
    ['no exec', () => createAction({} as any), ['createAction', 'exec']],
    ['no models', () => createSync({ exec: async () => {} } as any), ['models']],
    ['a number for a model', () => createSync({ models: { Row: 42 }, exec: async () => {} } as any), ['models.Row', '42']],
    ['null for a model', () => createSync({ models: { Row: null }, exec: async () => {} } as any), ['models.Row', 'null']],
    ['fields for a model', () => createSync({ models: { Row: { id: z.string() } }, exec: async () => {} } as any), ['models.Row', 'z.object']],
    ['a model for models', () => createSync({ models: Thing, exec: async () => {} } as any), ['models']],
    ['numbers for names', () => createSync({ models: ['A', 1], exec: async () => {} } as any), ['models', '1']],
    ['a number for a frequency', () => createSync({ models: { Thing }, frequency: 5, exec: async () => {} } as any), ['frequency', '5']],
    ['a text for a flag', () => createSync({ models: { Thing }, autoStart: 'yes', exec: async () => {} } as any), ['autoStart', 'yes']],
    ['another mode', () => createSync({ models: { Thing }, mode: 'both', exec: async () => {} } as any), ['mode', 'both']],
    ['a text for hosts', () => createSync({ models: { Thing }, hosts: 'a.test', exec: async () => {} } as any), ['hosts']],
    ['a text for a schema', () => createAction({ input: 'text', exec: async () => {} } as any), ['input', 'text']],
    ['a text to ignore', () => createSync({ models: { Thing }, ignore: { Thing: 'at' }, exec: async () => {} } as any), ['ignore.Thing']],
];

export default createSync({
    description: 'Calls everything.',
    models: { Thing },
    exec: async (terapi) => {
        wrong = [];
        for (const part of [requests, lists, records, rows, states]) {
            try {
                await part(terapi);
            } catch (error) {
                wrong.push(`${part.name}: ${error} ${(error as Error).stack}`);
            }
        }
        for (const [what, call, words] of refusals) await fails(what, call, 'TypeError', ...words);
        if (wrong.length > 0) throw new Error(wrong.join('\n'));
    },
});
