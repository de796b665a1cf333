import { createSync } from 'terapi';
with ({ a: 1 }) { a; }   // <-
export default createSync({});
