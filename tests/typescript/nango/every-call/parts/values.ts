export type Pair = [string, number];
export type { Pair as Pair2 };
export interface Shape {
    area: number;
}
export enum Level {
    Low = 'low',
    High = 'high'
}
const values = { one: 1, two: 2 };
export default values;
