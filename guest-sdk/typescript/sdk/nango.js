// The module `nango`: the same under the names that scripts written for Nango import.
import { createAction, createSync } from './script.js';
import { notHere } from './failure.js';

export { createAction, createSync };
export { ActionError } from './failure.js';
export { RequestError as AxiosError } from './client.js';
export { z } from 'terapi:zod.js';

export function createOnEvent() {
    throw notHere('createOnEvent', 'Terapi runs syncs and actions alone');
}

// Scripts import the names of types without saying `type`; what is not erased must at least be there.
const type = class {};
export { type as NangoSync, type as NangoAction, type as NangoSyncLocal, type as NangoActionLocal, type as NangoActionBase, type as NangoSyncBase };
