import { createAction, ActionError } from 'nango';
import * as z from 'zod';

/** Throws what it is told to. */
export default createAction({
    description: 'Fails in every way',
    version: '1.0.0',
    input: z.object({ how: z.string() }),
    output: z.null(),
    exec: async (nango, input) => {
        switch (input.how) {
            case 'object':
                throw new nango.ActionError({ type: 'a', list: [1, null, { deep: true }], message: 'read me' });
            case 'imported':
                throw new ActionError({ message: 'imported' });
            case 'string':
                throw new nango.ActionError('just text' as any);
            case 'nothing':
                throw new (nango.ActionError as any)();
            case 'error':
                throw new TypeError('a type error');
            case 'later':
                await new Promise((_, reject) => setTimeout(() => reject(new nango.ActionError({ message: 'later' })), 5));
                break;
        }
        return null;
    }
});
