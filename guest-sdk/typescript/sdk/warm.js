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

model.safeParse({ id: '1', kind: 'a', either: 1, same: 'x', list: [], more: { a: 1 }, text: 'a' });
model.safeParse({});
jsonSchema(model);
