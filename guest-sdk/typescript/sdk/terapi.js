// The module `terapi`.
export { createAction, createSync } from './script.js';
export { ActionError } from './failure.js';
export { RequestError } from './client.js';
export { z } from 'terapi:zod.js';
