import { createSync } from 'nango';
import * as z from 'zod';
import { equal } from './assert.js';

export default createSync({
    description: "The integration's way to page, and options over it",
    version: '1.0.0',
    frequency: 'every day',
    autoStart: true,
    models: { Thing: z.object({ id: z.string() }) },

    exec: async (nango) => {
        const seen: unknown[] = [];
        for await (const page of nango.paginate<{ id: number }>({ endpoint: '/defaults' })) {
            seen.push(page);
        }
        for await (const page of nango.paginate<{ id: number }>({ endpoint: '/defaults-changed', paginate: { response_path: 'other' } })) {
            seen.push(page);
        }
        equal(seen, [[{ id: 1 }], [{ id: 2 }], [{ id: 3 }]], 'pages');
    }
});
