import { y } from './two.js';
export const x = y;
