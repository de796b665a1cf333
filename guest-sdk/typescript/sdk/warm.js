// What zod makes at its first use, made before the snapshot.
import * as z from 'terapi:zod.js';
import { jsonSchema } from './models.js';

const model = z.object({
    id: z.string(),
    count: z.number().int().min(0).optional(),
    on: z.boolean().nullable().default(false),
    when: z.iso.datetime().nullish(),
    mail: z.email().optional(),
    kind: z.enum(['a', 'b']),
    either: z.union([z.string(), z.number()]),
    same: z.literal('x'),
    list: z.array(z.unknown()),
    more: z.record(z.string(), z.any()),
    date: z.date().optional(),
    text: z.string().trim().regex(/a/).refine(() => true).transform((text) => text),
}).passthrough();

// Each class gets its methods when the first of its kind is made, which takes a third of a millisecond: here, for those
// that scripts use. Each takes 30 KB.
const { string, number, object } = z;
const kinds = [
    z.null(), z.void(), z.undefined(), z.never(), z.bigint(), z.int(), z.url(), z.uuid(), z.iso.date(), z.tuple([string()]), z.lazy(() => string()),
    z.coerce.string(), z.coerce.number(), z.coerce.boolean(), z.coerce.date(), z.nativeEnum({ A: 'a' }), z.custom(() => true), z.instanceof(Date),
    z.discriminatedUnion('t', [object({ t: z.literal('a') }), object({ t: z.literal('b') })]), z.intersection(object({}), object({})),
    z.strictObject({}), z.looseObject({}), z.preprocess((value) => value, string()),
    string().pipe(string()), string().catch(''), string().readonly(), string().transform((text) => text), string().describe(''), string().nullish(),
    string().min(1).max(2).length(1).startsWith('').endsWith('').includes('').trim().toLowerCase(), string().superRefine(() => {}).check(() => {}),
    string().url(), string().uuid(), string().email(), string().datetime(), string().date(),
    number().gt(0).gte(0).lt(9).lte(9).positive().nonnegative().multipleOf(1), z.array(string()).min(0).max(9),
    object({ a: string() }).partial().required().extend({ b: number() }).pick({ a: true }).omit({ a: true }).strict(), object({}).catchall(string()),
];
for (const kind of kinds) {
    try {
        kind.safeParse('a');
        jsonSchema(kind);
    } catch {
        // Some have no synchronous check or no schema.
    }
}

model.safeParse({ id: '1', kind: 'a', either: 1, same: 'x', list: [], more: { a: 1 }, text: 'a' });
model.safeParse({});
jsonSchema(model);
