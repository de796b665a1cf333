// The module `url`, `node:url`.
import { URL, URLSearchParams } from '../globals/url.js';

export { URL, URLSearchParams };
export default { URL, URLSearchParams };
