export interface Issue { id: string }
export type Other = Issue;
