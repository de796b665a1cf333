// The module `buffer`, `node:buffer`.
import { Buffer } from '../globals/buffer.js';
import { atob, btoa } from '../globals/encoding.js';

export { Buffer, atob, btoa };
export default { Buffer, atob, btoa };
