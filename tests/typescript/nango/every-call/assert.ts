/** Compares as JSON, with keys in any order. */
export function equal(actual: unknown, wanted: unknown, what: string): void {
    const [a, w] = [actual, wanted].map((value) => JSON.stringify(sorted(value)));
    if (a !== w) {
        throw new Error(`${what}: got ${a}, not ${w}`);
    }
}

export function ok(condition: unknown, what: string): asserts condition {
    if (!condition) {
        throw new Error(`not so: ${what}`);
    }
}

/** What the promise is rejected with. */
export async function rejected(promise: Promise<unknown>, what: string): Promise<any> {
    let value: unknown;
    try {
        value = await promise;
    } catch (error) {
        return error;
    }
    throw new Error(`${what}: fulfilled with ${JSON.stringify(value)}`);
}

function sorted(value: unknown): unknown {
    if (Array.isArray(value)) {
        return value.map(sorted);
    }
    if (value === null || typeof value !== 'object' || 'toJSON' in value) {
        return value;
    }
    return Object.fromEntries(
        Object.entries(value)
            .sort(([a], [b]) => (a < b ? -1 : 1))
            .map(([key, inner]) => [key, sorted(inner)])
    );
}
