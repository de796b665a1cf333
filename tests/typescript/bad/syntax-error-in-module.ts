import { x } from './syntax-error-in-module/lib.js';
export default x;
