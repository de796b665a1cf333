import crypto from 'crypto';
import { createHash, createHmac, randomUUID } from 'node:crypto';
import { Buffer } from 'node:buffer';
import { URL, URLSearchParams } from 'url';
import { createAction } from 'nango';
import { z } from 'zod';
import { equal, ok } from './assert.js';

/** What few templates import from Node: its names for what is global here. */
export default createAction({
    description: 'Modules of Node',
    version: '1.0.0',
    input: z.object({}),
    output: z.object({ ok: z.boolean() }),
    exec: async () => {
        equal(createHash('sha256').update('a').update(Buffer.from('bc')).digest('hex'), 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad', 'sha256');
        equal(crypto.createHash('sha1').update('abc').digest('hex'), 'a9993e364706816aba3e25717850c26c9cd0d89d', 'sha1');
        equal(crypto.createHash('md5').update('abc').digest('hex'), '900150983cd24fb0d6963f7d28e17f72', 'md5');
        equal(createHmac('sha256', 'key').update('The quick brown fox jumps over the lazy dog').digest('hex'), 'f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8', 'hmac');
        equal(createHash('sha256').update('abc').digest('base64'), 'ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=', 'in base64');
        equal(createHash('sha256').update('abc').digest().length, 32, 'as a Buffer');
        ok(randomUUID().length === 36, 'randomUUID');
        equal(new URL('https://e.example/?a=1').searchParams.get('a'), '1', 'URL');
        equal(new URLSearchParams('a=1').get('a'), '1', 'URLSearchParams');
        return { ok: true };
    }
});
