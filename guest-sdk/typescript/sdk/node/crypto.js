// The module `crypto`, `node:crypto`.
import { crypto } from '../globals/crypto.js';

export { createHash, createHmac, getRandomValues, randomBytes, randomInt, randomUUID, subtle, timingSafeEqual } from '../globals/crypto.js';
export const webcrypto = crypto;
export default crypto;
