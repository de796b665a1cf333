interface Raw {
    id?: number;
}

enum Kind { A, B }

export function map(raw: Raw): { id: string; kind: Kind } {
    if (raw.id === undefined) throw new Error('cannot map');
    return { id: String(raw.id), kind: Kind.A };
}
