// What a script says of itself, from its options.
import { isArray, ownKeys, stringify } from './host.js';
import { jsonSchema } from './models.js';

/** The name of a script that gives none: its file's, in lower case with dashes. */
function nameOf(file) {
    const stem = file.replace(/^.*\//, '').replace(/\.[cm]?[jt]sx?$/, '');
    const kebab = stem
        .replace(/([a-z0-9])([A-Z])/g, '$1-$2')
        .toLowerCase()
        .replace(/[^a-z0-9]+/g, '-')
        .replace(/^-+|-+$/g, '');
    return kebab.slice(0, 63) || 'script';
}

const schemaText = (schema) => (schema === undefined || schema === null ? undefined : stringify(jsonSchema(schema)));

function models(options) {
    const given = options.models;
    if (given === undefined || given === null) return [];
    const ignore = options.ignore ?? {};
    if (isArray(given)) {
        return given.map((name) => ({ name, schema: stringify({ type: 'object', properties: { id: { type: 'string' } } }), ignore: ignore[name] ?? [] }));
    }
    return ownKeys(given).map((name) => ({ name, schema: stringify(recordSchema(given[name])), ignore: ignore[name] ?? [] }));
}

/** The schema of a record: its id is a string here, whatever number the API has. */
function recordSchema(model) {
    const schema = jsonSchema(model);
    const id = schema?.properties?.id;
    if (id && id.type !== 'string' && schema.type === 'object') schema.properties.id = { type: 'string', ...(id.description && { description: id.description }) };
    return schema;
}

/** Full refresh only where the options say so and no checkpoint says that runs go on from each other. */
function mode(options) {
    if (options.mode === 'full-refresh' || options.mode === 'incremental') return options.mode;
    const full = options.trackDeletes === true || options.syncType?.toLowerCase() === 'full';
    return full && (options.checkpoint ?? undefined) === undefined ? 'full-refresh' : 'incremental';
}

export function manifest(script, file) {
    const { options } = script;
    const said = {
        name: options.name ?? nameOf(file),
        version: options.version ?? '1.0.0',
        description: options.description ?? '',
        models: models(options),
        baseUrl: options.baseUrl,
        hosts: options.hosts ?? [],
        configSchema: schemaText(options.config),
        metadataSchema: schemaText(options.metadata),
    };
    if (script.kind === 'sync') {
        said.mode = mode(options);
        said.frequency = options.frequency;
        said.autoStart = options.autoStart ?? true;
    } else {
        said.inputSchema = schemaText(options.input);
        said.outputSchema = schemaText(options.output);
    }
    return said;
}
