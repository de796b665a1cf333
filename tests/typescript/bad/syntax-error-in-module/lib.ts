// fine
export const y = 1;
export const x = = 2;
