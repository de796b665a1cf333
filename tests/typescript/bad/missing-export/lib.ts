export const toRows = (n: number) => [{ id: String(n) }];
