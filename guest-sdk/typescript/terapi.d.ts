/// <reference path="./globals.d.ts" />
// Types of the module 'terapi': what a sync or action script written for Terapi is given.
// `zod` here is zod 4; the engine brings it along, and an editor takes it from `npm install --save-dev zod`.
import type * as zod from 'zod';

export { z } from 'zod';

/** Any JSON value. */
export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };

type Schema = zod.ZodType;
type Models = Record<string, Schema>;
type Infer<T> = T extends zod.ZodType<infer Output> ? Output : T;
/** The names of a script's models. */
type ModelName<M> = M extends Models ? keyof M & string : string;
/** A record of a model as it is saved: its id may be a number, and becomes a string. */
type RecordOf<M, K> = M extends Models ? (K extends keyof M ? WithId<Infer<M[K]>> : WithId<object>) : WithId<object>;
type WithId<T> = Omit<T, 'id'> & { id: string | number };
type StoredOf<M, K> = M extends Models ? (K extends keyof M ? Infer<M[K]> : Record<string, Json>) : Record<string, Json>;

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE' | 'HEAD' | 'get' | 'post' | 'put' | 'patch' | 'delete' | 'head';
type Parameter = string | number | boolean | null | undefined | (string | number)[];

/** How a list's next page is asked for; merged over the connection's own `pagination`. */
export interface Pagination {
    type?: 'cursor' | 'link' | 'offset' | 'page';
    /** Where the rows stand in an answer: a dotted path; the answer itself if there is none. */
    response_path?: string;
    /** How many rows a page has; sent as `limit_name_in_request`, which a list by cursor must have then. An offset's list ends with a shorter page. */
    limit?: number | string;
    limit_name_in_request?: string;
    /** Parameters go into the body rather than the query; so they do anyway for POST, PUT and PATCH. */
    in_body?: boolean;
    cursor_path_in_response?: string;
    cursor_name_in_request?: string;
    link_rel_in_response_header?: string;
    link_path_in_response_body?: string;
    offset_name_in_request?: string;
    offset_start_value?: number;
    offset_calculation_method?: 'by-response-size' | 'per-page';
    page_name_in_request?: string;
    page_start_value?: number;
    /** Awaited after the script took a page, before the next one is asked for. */
    on_page?: (page: { nextPageParam?: string | number | undefined; response: Response }) => Promise<void> | void;
}

/** A request. Its credential is the connection's, and attached by the host. */
export interface Request {
    /** A path on the connection's base URL, or an absolute URL. */
    endpoint: string;
    params?: string | Record<string, Parameter> | URLSearchParams;
    /** An object is sent as JSON, or as a form if the content type says so; a text and bytes as they are. */
    data?: unknown;
    headers?: Record<string, string | number | boolean | null | undefined>;
    /** How often to try again after a network error, 429 or 500 and above; 0 if not given, at most 10. */
    retries?: number;
    /** Further statuses to try again on. */
    retryOn?: number[] | null;
    baseUrlOverride?: string;
    responseType?: 'json' | 'text' | 'arraybuffer';
    /** Milliseconds for each try. */
    timeout?: number;
    /** Accepted, and not used. */
    decompress?: boolean;
}

export interface RequestWithMethod extends Request {
    method?: Method;
}

export interface PaginatedRequest extends RequestWithMethod {
    paginate?: Pagination;
}

export interface Response<T = any> {
    data: T;
    status: number;
    statusText: string;
    /** Names in lower case. */
    headers: Record<string, any>;
    config: RequestWithMethod;
}

/** A status of 400 or above, or no answer. In the shape of axios' errors. */
export class RequestError<T = any> extends Error {
    code: string;
    /** Of the answer; undefined where there is none. */
    status?: number;
    response?: Response<T>;
    /** Why there is no answer: `denied`, `timed-out`, `transport`, `body-too-large`, `invalid-request`, `exhausted`. */
    kind?: string;
    isAxiosError: true;
}

/** An action's own error: the payload goes to the caller as it is. */
export class ActionError<T = Record<string, unknown>> extends Error {
    constructor(payload?: T);
    type: string;
    payload: T;
}

export interface Connection {
    id: string;
    connection_id: string;
    provider_config_key: string;
    metadata: any;
    /** What is fixed about the account: its tenant, its site. */
    connection_config: Record<string, any>;
    /** Never there in a live run: requests carry the credential by themselves. */
    credentials: any;
    [key: string]: any;
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

export interface SaveSummary {
    added: number;
    updated: number;
    unchanged: number;
    repeated: number;
}

interface Context<M = Models, Metadata = any> {
    readonly scriptType: 'sync' | 'action';
    readonly connectionId: string;
    readonly providerConfigKey: string;
    readonly provider: string;
    readonly variant: string;
    readonly runId: string;
    readonly activityLogId: string;
    /** What the operator configured for this sync. */
    readonly config: any;
    readonly abortSignal: AbortSignal;
    readonly ActionError: typeof ActionError;

    get<T = any>(request: Request): Promise<Response<T>>;
    post<T = any>(request: Request): Promise<Response<T>>;
    put<T = any>(request: Request): Promise<Response<T>>;
    patch<T = any>(request: Request): Promise<Response<T>>;
    delete<T = any>(request: Request): Promise<Response<T>>;
    head<T = any>(request: Request): Promise<Response<T>>;
    proxy<T = any>(request: RequestWithMethod): Promise<Response<T>>;
    /** The pages of a list, each an array of rows. */
    paginate<T = any>(request: PaginatedRequest): AsyncGenerator<T[], undefined, void>;
    uncontrolledFetch(request: { url: string | URL; method?: Method; headers?: Record<string, string>; body?: string | null }): Promise<globalThis.Response>;

    log(message: unknown, ...rest: unknown[]): Promise<void>;

    getConnection(providerConfigKey?: string, connectionId?: string): Promise<Connection>;
    /** Throws in a live run: requests carry the credential by themselves. */
    getToken(): Promise<any>;
    getMetadata<T = Metadata>(): Promise<T>;
    setMetadata(metadata: Record<string, unknown>): Promise<any>;
    updateMetadata(fields: Record<string, unknown>): Promise<any>;

    getRecordsByIds<Id extends string | number, T = any>(ids: Id[], model: ModelName<M>): Promise<Map<Id, T>>;
    listRecords<K extends ModelName<M>, T = StoredOf<M, K>>(model: K | { model: K; limit?: number }, options?: { limit?: number }): AsyncGenerator<T, undefined, void>;

    zodValidateInput<S extends Schema>(given: { zodSchema: S; input: unknown }): Promise<{ success: true; data: Infer<S> }>;
}

/** What a sync's exec is given. */
export interface TerapiSync<M = any, Metadata = any, Checkpoint = any> extends Context<M, Metadata> {
    /** When the last successful run started; undefined on the first one. */
    readonly lastSyncDate?: Date;
    batchSave<K extends ModelName<M>>(rows: RecordOf<M, K>[], model: K): Promise<SaveSummary>;
    /** With the type of a row said: `batchSave<Issue>(rows, 'Issue')`. */
    batchSave<Row extends object = never>(rows: NoInfer<Row>[], model: ModelName<M>): Promise<SaveSummary>;
    /** Merges the given top-level fields into records that exist. */
    batchUpdate<K extends ModelName<M>>(rows: (Partial<RecordOf<M, K>> & { id: string | number })[], model: K): Promise<SaveSummary>;
    batchUpdate<Row extends object = never>(rows: NoInfer<Row>[], model: ModelName<M>): Promise<SaveSummary>;
    /** Rows with an id, or ids; resolves to how many were there. */
    batchDelete<K extends ModelName<M>>(rows: ({ id: string | number } | string | number)[], model: K): Promise<number>;
    batchDelete<Row extends object = never>(rows: NoInfer<Row>[], model: ModelName<M>): Promise<number>;
    trackDeletesStart(model: ModelName<M>): Promise<void>;
    /** Marks what was not saved since trackDeletesStart; it is deleted when this run succeeds. */
    trackDeletesEnd(model: ModelName<M>): Promise<{ deletedKeys: string[] }>;
    /** null at first. */
    getCheckpoint(): Promise<Checkpoint | null>;
    saveCheckpoint(checkpoint: Checkpoint): Promise<void>;
    clearCheckpoint(): Promise<void>;
}

/** What an action's exec is given. */
export interface TerapiAction<M = any, Metadata = any> extends Context<M, Metadata> {}

interface Options {
    /** `a-z 0-9 -`; the file's name if there is none. */
    name?: string;
    description?: string;
    version?: string;
    /** The base URL of the API, unless the operator sets another. */
    baseUrl?: string;
    /** The hosts that it wants to reach; the operator grants or refuses. */
    hosts?: string[];
    /** What the operator configures for it. */
    config?: Schema;
    /** Top-level fields of models whose change alone is no change: `{ Issue: ['fetchedAt'] }`. */
    ignore?: Record<string, string[]>;
    /** Accepted, and not used. */
    scopes?: string[];
}

export interface SyncOptions<M extends Models, Metadata extends Schema, Checkpoint extends Schema> extends Options {
    models: M;
    /** `every hour`, `every 5 minutes`, `every day`. */
    frequency?: string;
    autoStart?: boolean;
    metadata?: Metadata;
    checkpoint?: Checkpoint;
    mode?: 'full-refresh' | 'incremental';
    syncType?: 'full' | 'incremental';
    trackDeletes?: boolean;
    /** Accepted, and not used. */
    endpoints?: { method: string; path: string; group?: string }[];
    webhookSubscriptions?: string[];
    onWebhook?: (terapi: any, payload: any) => Promise<void>;
    exec: (terapi: TerapiSync<M, Infer<Metadata>, Infer<Checkpoint>>) => Promise<void> | void;
}

export interface ActionOptions<Input extends Schema, Output extends Schema, Metadata extends Schema, M extends Models = Models> extends Options {
    input?: Input;
    output?: Output;
    models?: M;
    metadata?: Metadata;
    /** Accepted, and not used. */
    endpoint?: { method: string; path: string; group?: string };
    exec: (terapi: TerapiAction<M, Infer<Metadata>>, input: Infer<Input>) => Promise<Infer<Output>> | Infer<Output>;
}

/** A script as createSync or createAction made it: what a file exports by default. */
export interface Script<Kind extends 'sync' | 'action', O> {
    readonly kind: Kind;
    readonly type: Kind;
    readonly options: O;
}

export function createSync<M extends Models, Metadata extends Schema = zod.ZodAny, Checkpoint extends Schema = zod.ZodAny>(
    options: SyncOptions<M, Metadata, Checkpoint>,
): Script<'sync', SyncOptions<M, Metadata, Checkpoint>> & SyncOptions<M, Metadata, Checkpoint>;

export function createAction<Input extends Schema = zod.ZodAny, Output extends Schema = zod.ZodAny, Metadata extends Schema = zod.ZodAny>(
    options: ActionOptions<Input, Output, Metadata>,
): Script<'action', ActionOptions<Input, Output, Metadata>> & ActionOptions<Input, Output, Metadata>;
