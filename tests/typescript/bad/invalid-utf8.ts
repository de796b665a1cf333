import { createSync } from 'terapi';
const x = 'ÿþ€';
export default createSync({});
