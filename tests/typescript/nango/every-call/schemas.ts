import { createAction } from 'nango';
import * as z from 'zod';
import { equal, ok } from './assert.js';

const everything = z.object({
    string: z.string().min(1).max(10),
    trimmed: z.string().trim(),
    email: z.email(),
    oldEmail: z.string().email(),
    url: z.url().optional(),
    uuid: z.uuid().optional(),
    regex: z.string().regex(/^(?!0)\d+$/),
    datetime: z.iso.datetime().optional(),
    number: z.number().min(0).max(9.5),
    int: z.number().int().positive(),
    boolean: z.boolean(),
    array: z.array(z.string()).min(1),
    record: z.record(z.string(), z.number()),
    enum: z.enum(['a', 'b']),
    union: z.union([z.string(), z.number()]),
    literal: z.literal('x'),
    null: z.null(),
    any: z.any(),
    unknown: z.unknown(),
    optional: z.string().optional(),
    nullable: z.string().nullable(),
    nullish: z.string().nullish(),
    loose: z.object({ a: z.number() }).passthrough(),
    strip: z.object({ a: z.number() }),
    refined: z.string().refine((text) => text.length % 2 === 0, { message: 'must be of even length' }),
    transformed: z.string().transform((text) => text.length),
    defaulted: z.number().default(3),
    coerced: z.coerce.number(),
    tuple: z.tuple([z.string(), z.number()]),
    discriminated: z.discriminatedUnion('kind', [z.object({ kind: z.literal('n'), n: z.number() }), z.object({ kind: z.literal('s'), s: z.string() })]),
    date: z.date().optional(),
    lazy: z.lazy(() => z.array(z.boolean()))
});

const good = {
    string: 's', trimmed: ' t ', email: 'a@b.example', oldEmail: 'a@b.example', regex: '10', number: 9.5, int: 1, boolean: false,
    array: ['x'], record: { a: 1 }, enum: 'b', union: 7, literal: 'x', null: null, any: [1], unknown: { u: 1 }, nullable: null,
    nullish: undefined, loose: { a: 1, b: 2 }, strip: { a: 1, b: 2 }, refined: 'even', transformed: 'four', coerced: '12',
    tuple: ['t', 1], discriminated: { kind: 's', s: 'x' }, lazy: [true]
};

export default createAction({
    description: 'Every part of zod that scripts use',
    version: '1.0.0',
    input: z.object({}),
    output: everything,
    exec: async () => {
        const parsed = everything.parse(good);
        equal([parsed.trimmed, parsed.loose, parsed.strip, parsed.transformed, parsed.defaulted, parsed.coerced, parsed.discriminated.kind], ['t', { a: 1, b: 2 }, { a: 1 }, 4, 3, 12, 's'], 'parsed');

        const bad = everything.safeParse({ ...good, email: 'x', regex: '01', int: -1, array: [], enum: 'c', refined: 'odd', union: true, null: 0 });
        ok(!bad.success, 'a bad value');
        equal(bad.error.issues.map((issue) => issue.path.join('.')).sort(), ['array', 'email', 'enum', 'int', 'null', 'refined', 'regex', 'union'], 'issues');
        ok(bad.error instanceof z.ZodError, 'ZodError');
        ok(bad.error.issues.some(({ message }) => message === 'must be of even length'), 'its own message');
        equal((await everything.safeParseAsync(good)).success, true, 'safeParseAsync');

        const partial = everything.pick({ string: true, int: true }).partial().extend({ more: z.number() });
        equal(partial.parse({ more: 1 }), { more: 1 }, 'pick, partial, extend');
        equal(everything.omit({ string: true }).shape.int.safeParse(1).success, true, 'omit');
        equal(z.object({ a: z.string() }).strict().safeParse({ a: '', b: 1 }).success, false, 'strict');
        equal(z.array(z.object({ id: z.string() })).parse([{ id: '1', x: 1 }]), [{ id: '1' }], 'a list');
        equal(z.string().min(3, 'too short').safeParse('a').error?.issues[0]?.message, 'too short', 'a message of its own');
        return { ok: true } as any;
    }
});
