import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        const circle: any = { a: 1 };
        circle.circle = circle;
        await terapi.log(undefined as any);
        await terapi.log(circle);
        await terapi.log('x', circle);
        await terapi.log('x', 10n as any);
        await terapi.log('x', { level: 'shout' });
        await terapi.log('half \ud83d', { half: '\ud83d' });
        await terapi.log('a\nb\u001b[31mred\u0000');
        console.log(circle, 10n, Symbol('s'), undefined, null, () => 1, new Error('e'), new Map([[1, 2]]));
    }
});
