import { createAction } from 'nango';
import type { ProxyConfiguration } from 'nango';
import * as z from 'zod';
import { equal, ok } from './assert.js';
import values, { Level, type Pair, Pair2, Shape } from './parts/values.js';
import * as all from './parts';
import data from './parts/data.json';

enum Color {
    Red,
    Green = 5,
    Blue
}
const enum Size {
    Small = 'S',
    Large = 'L'
}
namespace Units {
    export const KILO = 1000;
    export namespace Deep {
        export const MILLI = 1 / KILO;
    }
}
abstract class Base<T> {
    static count = 0;
    #secret = 7;
    readonly list: T[] = [];
    declare later: string;
    constructor(protected readonly name: string, public optional?: number) {
        Base.count += 1;
    }
    abstract kind(): string;
    get secret(): number {
        return this.#secret;
    }
    set secret(value: number) {
        this.#secret = value;
    }
    static {
        Base.count = 10;
    }
}
class Derived extends Base<number> implements Shape {
    area = 2;
    override kind(): string {
        return `derived ${this.name}`;
    }
    async *[Symbol.asyncIterator](): AsyncGenerator<number> {
        yield 1;
        yield* [2, 3];
    }
}
function overloaded(a: string): string;
function overloaded(a: number): number;
function overloaded(a: any): any {
    return a;
}
const generic = <T,>(value: T): T => value;
function isString(this: void, value: unknown): value is string {
    return typeof value === 'string';
}
type Keys<T> = { [K in keyof T as `get${Capitalize<string & K>}`]?: () => T[K] };
interface Options extends Partial<ProxyConfiguration> {
    extra?: string;
}

export default createAction({
    description: 'Every feature of the language',
    version: '1.0.0',
    input: z.object({}),
    output: z.object({ ok: z.boolean() }),
    exec: async () => {
        // What TypeScript adds
        equal([Color.Red, Color.Green, Color.Blue, Color[6], Size.Large, Level.High], [0, 5, 6, 'Blue', 'L', 'high'], 'enums');
        equal([Units.KILO, Units.Deep.MILLI], [1000, 0.001], 'namespaces');
        const derived = new Derived('d', 3);
        equal([derived.kind(), derived.optional, derived.secret, Base.count, derived.area, 'later' in derived], ['derived d', 3, 7, 11, 2, false], 'classes');
        derived.secret = 8;
        equal(derived.secret, 8, 'private fields');
        const shape = { area: 1 } satisfies Shape as Shape;
        const pair: Pair = ['a', 1];
        const pair2: Pair2 = pair;
        const getters: Keys<{ name: string }> = { getName: () => 'n' };
        const options: Options = { extra: 'x' };
        equal([shape!.area, pair2, getters.getName?.(), options, overloaded(1), generic('g'), isString('')], [1, ['a', 1], 'n', { extra: 'x' }, 1, 'g', true], 'types');
        equal([values.one, all.values.two, data.name, data.list], [1, 2, 'from a file', [1, 2.5]], 'modules');

        // Asynchronous
        const numbers: number[] = [];
        for await (const number of derived) {
            numbers.push(number);
        }
        for await (const number of [Promise.resolve(4), 5]) {
            numbers.push(number);
        }
        equal(numbers, [1, 2, 3, 4, 5], 'async iteration');
        const settled = await Promise.allSettled([Promise.reject(new Error('no')), 1]);
        equal(settled.map(({ status }) => status), ['rejected', 'fulfilled'], 'allSettled');
        equal(await Promise.race([new Promise((resolve) => setTimeout(resolve, 50, 'slow')), Promise.resolve('fast')]), 'fast', 'race');
        equal(await Promise.any([Promise.reject(new Error('x')), Promise.resolve(1)]), 1, 'any');
        let cleaned = false;
        try {
            await (async () => {
                throw new Error('caught', { cause: 'why' });
            })();
        } catch (error) {
            ok(error instanceof Error && error.cause === 'why', 'cause');
        } finally {
            cleaned = true;
        }
        ok(cleaned, 'finally');

        // Operators and syntax
        const nested: { a?: { b?: (() => string) | null; c?: string[] } } = { a: { b: null } };
        equal([nested.a?.b?.(), nested.a?.c?.[0], nested?.['a']?.b ?? 'none', 0 || 'or', (JSON.parse('0') as number | null) ?? 'nullish'], [undefined, undefined, 'none', 'or', 0], 'optional chaining');
        let assigned: string | undefined;
        assigned ??= 'set';
        assigned &&= `${assigned}!`;
        assigned ||= 'never';
        equal(assigned, 'set!', 'logical assignment');
        const { a, ...rest } = { a: 1, b: 2, c: 3 };
        const [first = 9, , third, ...others] = [undefined, 2, 3, 4, 5];
        equal([a, rest, first, third, others], [1, { b: 2, c: 3 }, 9, 3, [4, 5]], 'destructuring');
        const key = 'computed';
        equal({ [key]: 1, [`${key}2`]: 2, ...{ spread: true }, ...(null as any), ...((nested.a === undefined && { no: 1 }) as object) }, { computed: 1, computed2: 2, spread: true }, 'object literals');
        outer: for (const i of [1, 2, 3]) {
            for (const j of [1, 2, 3]) {
                if (j === 2) continue outer;
                if (i === 3) break outer;
            }
        }
        equal([2 ** 10, 1_000, 0b11, 0o17, 0xff, 7n ** 2n === 49n, typeof Symbol('s'), void 0], [1024, 1000, 3, 15, 255, true, 'symbol', undefined], 'operators');
        const tag = (strings: TemplateStringsArray, ...given: unknown[]): string => strings.raw.join('|') + given.join(',');
        equal(tag`a${1}\n${2}c`, 'a|\\n|c1,2', 'tagged templates');
        function* count(): Generator<number, string, number> {
            const back = yield 1;
            return `got ${back}`;
        }
        const counter = count();
        counter.next();
        equal(counter.next(5).value, 'got 5', 'generators');

        // Regular expressions
        equal('2026-11-05'.match(/^(?<year>\d{4})-(?<month>\d\d)(?=-)/)?.groups?.['month'], '11', 'named groups and lookahead');
        equal(['a1b22'.replace(/\d+/g, (digits) => `<${digits}>`), [...'a1b22'.matchAll(/[a-z](\d+)/g)].map((found) => found[1]), 'x-y_z'.split(/[-_]/), /^\p{Lu}/u.test('Äb'), 'a.b'.replaceAll('.', '-'), /(?!x)y/s.test('y')], ['a<1>b<22>', ['1', '22'], ['x', 'y', 'z'], true, 'a-b', true], 'regular expressions');

        // The library
        equal([[3, 1, 2].toSorted(), [1, 2, 3].at(-1), [[1], [2, [3]]].flat(2), [1, 2, 3].findLast((n) => n < 3), Array.from({ length: 3 }, (_, i) => i), [1, 2].includes(2), Array.from(new Set([1, 1, 2]))], [[1, 2, 3], 3, [1, 2, 3], 2, [0, 1, 2], true, [1, 2]], 'arrays');
        equal([Object.entries({ a: 1 }), Object.assign({}, { a: 1 }), Object.hasOwn({ a: 1 }, 'a'), Object.fromEntries(new Map([['k', 1]]))], [[['a', 1]], { a: 1 }, true, { k: 1 }], 'objects');
        equal(['abc'.padStart(5, '-'), ' x '.trim(), 'abc'.slice(-2), 'a,b'.split(','), 'Straße'.toUpperCase(), 'é'.normalize('NFD').length, 'ab'.localeCompare('ac') < 0, '😀'.codePointAt(0), [...'a😀'].length, 'x'.repeat(3)], ['--abc', 'x', 'bc', ['a', 'b'], 'STRASSE', 2, true, 128512, 2, 'xxx'], 'strings');
        equal([(1234.5678).toFixed(2), parseInt('12px', 10), Number('0x1f'), Number.parseFloat('1.5e3'), Math.max(...[1, 5, 3]), Number.isInteger(5.0), (255).toString(16), Math.trunc(-1.5), isNaN(Number('x'))], ['1234.57', 12, 31, 1500, 5, true, 'ff', -1, true], 'numbers');
        equal(JSON.stringify({ u: undefined, f: () => 1, n: NaN, d: new Date(0), nested: [undefined, Infinity] }), '{"n":null,"d":"1970-01-01T00:00:00.000Z","nested":[null,null]}', 'JSON');
        equal(JSON.parse('{"a":[1]}', (_, value) => (value === 1 ? 2 : value)), { a: [2] }, 'a reviver');
        const weak = new WeakMap<object, number>([[derived, 1]]);
        equal([weak.get(derived), new Uint16Array([1, 65536])[1], new DataView(new ArrayBuffer(4)).getInt32(0)], [1, 0, 0], 'collections');
        return { ok: true };
    }
});
