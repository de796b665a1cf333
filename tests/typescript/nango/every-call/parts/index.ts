export { default as values } from './values.js';
export * from './values.js';
export * as nested from './values.js';
