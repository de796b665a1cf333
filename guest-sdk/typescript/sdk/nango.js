export { createAction, createSync } from './script.js';
export { ActionError } from './failure.js';
