import { x } from './missing-module-of-a-module/one.js';
export default x;
