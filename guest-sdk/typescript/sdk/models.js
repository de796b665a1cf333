// zod models as JSON Schema.
import { toJSONSchema } from 'terapi:zod.js';
import { ownKeys } from './host.js';

/** The first field of a z.object() that is no zod type. */
function strangeField(model) {
    const shape = model._zod.def.shape ?? {};
    return ownKeys(shape).find((name) => typeof shape[name]?._zod !== 'object');
}

/** The JSON Schema of a zod model; what is none is taken for a JSON Schema already. */
export function jsonSchema(model) {
    if (typeof model !== 'object' || model === null) return {};
    if (!model._zod) return model;
    try {
        return toJSONSchema(model, { target: 'draft-2020-12', unrepresentable: 'any', io: 'output' });
    } catch (error) {
        const field = strangeField(model);
        if (field === undefined) throw error;
        throw new TypeError(`a zod model cannot be described: its field ${field} is no zod type, such as z.string()`);
    }
}
