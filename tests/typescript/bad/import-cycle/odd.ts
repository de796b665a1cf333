import { even } from './even.js';
import { zero } from '../import-cycle.js';
export function odd(n: number): boolean { return n === zero() ? false : even(n - 1); }
