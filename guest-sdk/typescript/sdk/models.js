// zod models as JSON Schema.
import { toJSONSchema } from 'terapi:zod.js';

/** The JSON Schema of a zod model; what is none is taken for a JSON Schema already. */
export function jsonSchema(model) {
    if (typeof model !== 'object' || model === null) return {};
    if (!model._zod) return model;
    return toJSONSchema(model, { target: 'draft-2020-12', unrepresentable: 'any', io: 'output' });
}
