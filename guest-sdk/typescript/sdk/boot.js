// Loaded before the snapshot: everything a script can import, and what the engine calls.
import './globals/index.js';
import 'terapi:zod.js';
import './terapi.js';
import './nango.js';
import './node/crypto.js';
import './node/buffer.js';
import './node/url.js';
import './warm.js';

export { adopt, describe, run } from './script.js';
export { explain } from './failure.js';
export { fire, settle } from './pending.js';
