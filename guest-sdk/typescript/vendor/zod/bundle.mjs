// Makes zod.js: zod's v4 as one module, of its locales only the English one. In a folder with `npm install zod@4.6.7
// esbuild@0.28.2`: node bundle.mjs
import { build } from 'esbuild';
import { createRequire } from 'node:module';
import path from 'node:path';

const require = createRequire(path.join(process.cwd(), 'x.js'));
const root = path.dirname(require.resolve('zod/package.json'));

await build({
    stdin: { contents: "export * from './v4/classic/external.js'; import * as z from './v4/classic/external.js'; export { z, z as default };", resolveDir: root },
    bundle: true,
    format: 'esm',
    target: 'es2022',
    legalComments: 'none',
    banner: { js: '// zod 4.6.7 (MIT, see LICENSE), without its locales; made by bundle.mjs.' },
    outfile: process.argv[2] ?? 'zod.js',
    plugins: [{
        name: 'english-only',
        setup(build) {
            build.onLoad({ filter: /v4\/locales\/index\.js$/ }, () => ({ contents: "export { default as en } from './en.js';", loader: 'js' }));
        },
    }],
});
