import { createSync, z } from 'terapi';

export default createSync({
    models: { Row: z.object({ id: z.string() }) },
    exec: async (terapi: any) => {
        const names = ['process', 'require', 'module', 'exports', '__dirname', '__filename', 'std', 'os', 'bjson', 'scriptArgs', 'Deno', 'Bun', 'print', 'load', 'loadScript', 'WebAssembly', 'Worker', 'SharedArrayBuffer', 'XMLHttpRequest', 'WebSocket', 'importScripts', 'window', 'document'];
        const there = names.filter((name) => typeof (globalThis as any)[name] === 'function' || (name === 'std' || name === 'os') && name in globalThis);
        const env = (globalThis as any).process?.env ?? {};
        if (Object.keys(env).length > 0) throw new Error('an environment: ' + Object.keys(env).join());
        if (there.some((name) => ['require', 'Worker', 'loadScript', 'std', 'os'].includes(name))) throw new Error('a way out: ' + there.join());
    }
});
