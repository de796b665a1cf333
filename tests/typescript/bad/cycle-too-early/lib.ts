import { late } from '../cycle-too-early.js';
export const early = late.value;
