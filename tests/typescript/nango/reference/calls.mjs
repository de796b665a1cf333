// A second reading of how the calls of such scripts behave, written from the description alone and sharing nothing with
// the SDK: where a script, its recording and this agree, and Terapi does not, Terapi is likely wrong.

export class ActionError extends Error {
  constructor(payload) {
    super(typeof payload?.message === 'string' ? payload.message : JSON.stringify(payload ?? null));
    this.name = 'ActionError';
    this.payload = payload;
  }
}

const json = (value) => (value === undefined ? undefined : JSON.parse(JSON.stringify(value)));

/** A dotted path; a key that equals the whole path wins. */
export function at(value, path) {
  if (path === undefined || path === '') return value;
  if (value !== null && typeof value === 'object' && Object.hasOwn(value, path)) return value[path];
  return path.split('.').reduce((inner, key) => (inner === null || inner === undefined ? undefined : inner[key]), value);
}

function put(object, path, value) {
  const keys = path.split('.');
  const last = keys.pop();
  const inner = keys.reduce((outer, key) => (outer[key] ??= {}), object);
  inner[last] = value;
}

function queryOf(endpoint, params) {
  const [path, own] = endpoint.split(/\?(.*)/s);
  const query = {};
  for (const [name, value] of new URLSearchParams(own ?? '')) query[name] = value;
  if (typeof params === 'string') {
    for (const [name, value] of new URLSearchParams(params)) query[name] = value;
  } else {
    for (const [name, value] of Object.entries(params ?? {})) {
      if (value !== undefined && value !== null) query[name] = Array.isArray(value) ? value.join(',') : String(value);
    }
  }
  return [path, query];
}

const lower = (headers) => Object.fromEntries(Object.entries(headers ?? {}).map(([name, value]) => [name.toLowerCase(), String(value)]));

const isForm = (headers) => (headers['content-type'] ?? '').startsWith('application/x-www-form-urlencoded');

function bodyOf(method, data, headers) {
  if (data === undefined || data === null || method === 'get') return undefined;
  if (data instanceof URLSearchParams) return data.toString();
  if (typeof data === 'string' || data instanceof Uint8Array) return data;
  if (isForm(headers)) return new URLSearchParams(Object.entries(data)).toString();
  return json(data);
}

const same = (a, b) => JSON.stringify(sorted(a)) === JSON.stringify(sorted(b));

export function sorted(value) {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]));
}

const strings = (object) => Object.fromEntries(Object.entries(object ?? {}).map(([name, value]) => [name, String(value)]));

function plainPath(path) {
  let decoded = path;
  try {
    decoded = decodeURIComponent(path);
  } catch {
    // A lone % stays as it is.
  }
  return decoded.replace(/^\//, '');
}

function bodyMatches(wanted, body, headers) {
  if (wanted === undefined) return true;
  if (wanted?.type === 'Buffer') return body instanceof Uint8Array && same(wanted.data, [...body]);
  if (isForm(headers) && typeof wanted === 'object') return same(strings(wanted), Object.fromEntries(new URLSearchParams(body)));
  return same(wanted, body);
}

/** The API of a recording. Of the exchanges that match, each answers once and the last one for ever. */
class RecordedApi {
  constructor(api) {
    this.exchanges = Object.entries(api ?? {}).flatMap(([method, paths]) =>
      Object.entries(paths).flatMap(([path, one]) => [one].flat().map((exchange) => ({ method, path: plainPath(path), exchange, used: false }))));
  }

  answer({ method, path, query, headers, body }) {
    const matching = this.exchanges.filter(({ method: m, path: p, exchange: { request = {} } }) =>
      m === method && p === plainPath(path)
      && (request.params === undefined || same(strings(request.params), query))
      && (request.headers === undefined || same(lower(request.headers), headers))
      && bodyMatches(request.data, body, headers));
    const found = matching.find(({ used }) => !used) ?? matching.at(-1);
    if (!found) throw new Error(`no recorded answer: ${method} ${path} ${JSON.stringify({ query, headers, body })}`);
    found.used = true;
    const { response, status = 200, headers: answered } = found.exchange;
    return { response, status, headers: lower(answered) };
  }

  unused() {
    return this.exchanges.filter(({ used }) => !used).map(({ method, path }) => `${method} ${path}`);
  }
}

function dataOf(response, responseType) {
  const bytes = response?.type === 'Buffer' ? Buffer.from(response.data) : undefined;
  if (responseType === 'arraybuffer') return bytes ?? Buffer.from(typeof response === 'string' ? response : JSON.stringify(response));
  if (response === undefined || response === null) return '';
  const text = bytes?.toString() ?? response;
  if (typeof text !== 'string') return json(text);
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function flat(checkpoint) {
  const fine = checkpoint !== null && typeof checkpoint === 'object' && !Array.isArray(checkpoint)
    && Object.values(checkpoint).every((value) => ['string', 'number', 'boolean'].includes(typeof value));
  if (!fine) throw new Error('a checkpoint is a flat object of strings, numbers and booleans');
}

/** The object that a script is called with, and what it did. */
export class Calls {
  ActionError = ActionError;
  done = { batchSave: {}, batchDelete: {}, batchUpdate: {}, saveCheckpoint: [], clearCheckpoint: 0, trackDeletesEnd: {}, updateMetadata: [], log: [], waits: [] };

  constructor(recording) {
    this.given = recording.nango ?? {};
    this.api = new RecordedApi(recording.api);
    this.checkpoint = this.given.getCheckpoint ?? null;
    this.metadata = this.given.getMetadata ?? this.given.getConnection?.metadata ?? {};
    this.store = new Map();
    for (const [model, rows] of Object.entries(this.given.records ?? {})) for (const row of rows) this.rows(model).set(row.id, row);
    // A run that has a checkpoint goes on from one that had opened tracking and was cut off.
    this.seen = new Map();
    this.lastSyncDate = this.given.lastSyncDate ? new Date(this.given.lastSyncDate) : undefined;
  }

  rows(model) {
    if (!this.store.has(model)) this.store.set(model, new Map());
    return this.store.get(model);
  }

  async proxy(config) {
    const method = (config.method ?? 'GET').toLowerCase();
    const headers = lower(config.headers);
    let [path, query] = queryOf(config.endpoint, config.params);
    if (config.baseUrlOverride) path = new URL(config.baseUrlOverride).pathname.replace(/\/$/, '') + '/' + path.replace(/^\//, '');
    if (/^https?:\/\//.test(path)) path = new URL(path).pathname;
    const body = bodyOf(method, config.data, headers);
    for (let tried = 0, wait = 3000; ; tried += 1, wait = Math.min(wait * 2, 600_000)) {
      const { response, status, headers: answered } = this.api.answer({ method, path, query, headers, body });
      const data = dataOf(response, config.responseType);
      if (status < 400) return { data, status, headers: answered };
      const again = status === 429 || status >= 500 || (config.retryOn ?? []).includes(status);
      if (!again || tried >= (config.retries ?? 0)) {
        const error = new Error(`Request failed with status code ${status}`);
        throw Object.assign(error, { status, code: status >= 500 ? 'ERR_BAD_RESPONSE' : 'ERR_BAD_REQUEST', response: { status, data, headers: answered } });
      }
      this.done.waits.push('retry-after' in answered ? Number(answered['retry-after']) * 1000 : wait);
    }
  }

  get = (config) => this.proxy({ ...config, method: 'GET' });
  post = (config) => this.proxy({ ...config, method: 'POST' });
  put = (config) => this.proxy({ ...config, method: 'PUT' });
  patch = (config) => this.proxy({ ...config, method: 'PATCH' });
  delete = (config) => this.proxy({ ...config, method: 'DELETE' });

  async *paginate(given) {
    const config = { ...given, method: given.method ?? 'GET' };
    const paginate = { ...this.given.getConnection?.pagination, ...given.paginate };
    const inBody = paginate.in_body ?? !['GET', 'DELETE'].includes(config.method.toUpperCase());
    const place = inBody ? 'data' : 'params';
    if (paginate.limit !== undefined && !paginate.limit_name_in_request) throw new Error('limit needs limit_name_in_request');
    let extra = typeof config[place] === 'string' ? Object.fromEntries(new URLSearchParams(config[place])) : structuredClone(config[place] ?? {});
    const set = (name, value) => (inBody ? put(extra, name, value) : (extra[name] = String(value)));
    if (paginate.limit !== undefined) set(paginate.limit_name_in_request, paginate.limit);
    const request = () => this.proxy({ ...config, [place]: structuredClone(extra) });
    const rowsOf = (response) => at(response.data, paginate.response_path);

    if (paginate.type === 'cursor') {
      for (;;) {
        const response = await request();
        const rows = rowsOf(response);
        if (!rows?.length) return;
        yield rows;
        let next = at(response.data, paginate.cursor_path_in_response);
        if ((typeof next !== 'string' || next.trim() === '') && typeof next !== 'number') next = undefined;
        await paginate.on_page?.({ nextPageParam: next, response });
        if (next === undefined) return;
        set(paginate.cursor_name_in_request, next);
      }
    } else if (paginate.type === 'link') {
      for (let followed; ; ) {
        const response = await request();
        yield rowsOf(response) ?? [];
        const next = paginate.link_rel_in_response_header
          ? linkOf(response.headers.link, paginate.link_rel_in_response_header)
          : at(response.data, paginate.link_path_in_response_body);
        await paginate.on_page?.({ nextPageParam: next, response });
        if (!next || next === followed) return;
        followed = next;
        const url = new URL(next, new URL(config.endpoint, 'https://recorded.invalid'));
        Object.assign(config, { endpoint: url.pathname + url.search, params: {}, baseUrlOverride: undefined });
        if (!inBody) extra = {};
      }
    } else if (paginate.type === 'offset') {
      for (let offset = paginate.offset_start_value ?? 0; ; ) {
        set(paginate.offset_name_in_request, offset);
        const response = await request();
        const rows = rowsOf(response);
        if (!rows?.length) return;
        yield rows;
        offset += paginate.offset_calculation_method === 'per-page' ? 1 : rows.length;
        await paginate.on_page?.({ nextPageParam: offset, response });
        if (paginate.limit !== undefined && rows.length < paginate.limit) return;
      }
    } else {
      throw new Error(`no such pagination: ${paginate.type}`);
    }
  }

  async batchSave(rows, model) {
    if (rows.length === 0) return;
    for (const row of json(rows)) {
      (this.done.batchSave[model] ??= []).push(row);
      this.rows(model).set(row.id, row);
      this.seen.get(model)?.add(row.id);
    }
  }

  async batchUpdate(rows, model) {
    for (const row of json(rows)) {
      (this.done.batchUpdate[model] ??= []).push(row);
      this.rows(model).set(row.id, { ...this.rows(model).get(row.id), ...row });
      this.seen.get(model)?.add(row.id);
    }
  }

  async batchDelete(rows, model) {
    for (const row of json(rows)) {
      (this.done.batchDelete[model] ??= []).push(row);
      this.rows(model).delete(row.id);
    }
  }

  async getRecordsByIds(ids, model) {
    return new Map(ids.filter((id) => this.rows(model).has(String(id))).map((id) => [id, this.rows(model).get(String(id))]));
  }

  async *listRecords(model) {
    yield* [...this.rows(model).values()];
  }

  async trackDeletesStart(model) {
    if (!this.seen.has(model)) this.seen.set(model, new Set());
  }

  async trackDeletesEnd(model) {
    const seen = this.seen.get(model);
    if (!seen) throw new Error(`trackDeletesEnd('${model}') without trackDeletesStart`);
    this.seen.delete(model);
    const deletedKeys = [...this.rows(model).keys()].filter((id) => !seen.has(id));
    for (const id of deletedKeys) this.rows(model).delete(id);
    (this.done.trackDeletesEnd[model] ??= []).push(...deletedKeys);
    return { deletedKeys };
  }

  async getCheckpoint() {
    return structuredClone(this.checkpoint);
  }

  async saveCheckpoint(checkpoint) {
    flat(checkpoint);
    this.checkpoint = json(checkpoint);
    this.done.saveCheckpoint.push(this.checkpoint);
  }

  async clearCheckpoint() {
    this.checkpoint = null;
    this.done.clearCheckpoint += 1;
  }

  async getMetadata() {
    return structuredClone(this.metadata);
  }

  async updateMetadata(fields) {
    this.metadata = { ...this.metadata, ...json(fields) };
    this.done.updateMetadata.push(json(fields));
  }

  async setMetadata(metadata) {
    this.metadata = json(metadata);
  }

  async getConnection() {
    return { connection_config: {}, ...structuredClone(this.given.getConnection ?? {}), metadata: structuredClone(this.metadata) };
  }

  async getToken() {
    const credentials = this.given.getConnection?.credentials;
    if (!credentials) throw new Error('a script gets no credential: requests carry it');
    return credentials.access_token ?? credentials.apiKey ?? credentials;
  }

  async log(message, ...rest) {
    this.done.log.push(message);
  }

  async zodValidateInput({ zodSchema, input }) {
    const parsed = zodSchema.safeParse(input);
    if (!parsed.success) throw new ActionError({ type: 'invalid_input', message: parsed.error.message, errors: parsed.error.issues });
    return parsed;
  }

  async uncontrolledFetch({ url, method = 'GET', headers, body }) {
    const { pathname, search } = new URL(url);
    const [path, query] = queryOf(pathname + search);
    const answer = this.api.answer({ method: method.toLowerCase(), path, query, headers: lower(headers), body: body ?? undefined });
    const text = typeof answer.response === 'string' ? answer.response : JSON.stringify(answer.response);
    return new Response(text, { status: answer.status, headers: answer.headers });
  }
}

function linkOf(header, rel) {
  for (const part of (header ?? '').split(/,(?=\s*<)/)) {
    const found = /<([^>]*)>(.*)/.exec(part);
    if (found && new RegExp(`rel="?${rel}"?`).test(found[2])) return found[1];
  }
  return undefined;
}
