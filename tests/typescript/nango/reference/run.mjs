// Runs every script of this folder against its recordings, by `calls.mjs`. Not part of the tests; it needs Node 20 and,
// in a folder named by NODE_MODULES, `npm install zod@4 esbuild`:
//     NODE_MODULES=/somewhere/node_modules node reference/run.mjs [PART OF A NAME]

import { readFileSync, readdirSync, statSync, writeFileSync, mkdtempSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { ActionError, Calls, sorted } from './calls.mjs';

const modules = process.env.NODE_MODULES;
const { build } = createRequire(join(modules, 'x.js'))('esbuild');
const root = dirname(dirname(fileURLToPath(import.meta.url)));
const built = mkdtempSync(join(tmpdir(), 'reference-'));
globalThis.ActionError = ActionError;
const only = process.argv[2] ?? '';

const files = (folder) => readdirSync(folder).flatMap((name) => {
  const path = join(folder, name);
  return statSync(path).isDirectory() ? files(path) : [path];
});

/** The script of a recording: `NAME.script` beside it says which, else the one file of its folder that creates one. */
function scriptOf(recording) {
  const folder = dirname(recording);
  const found = files(folder).filter((path) => path.endsWith('.ts') && /export default (sync|action|create)/.test(readFileSync(path, 'utf8')));
  const named = found.filter((path) => basename(recording).startsWith(basename(path, '.ts') + '.'));
  const [script, ...others] = named.length ? named : found;
  if (!script || others.length) throw new Error(`${folder}: not one script but ${found.length}`);
  return script;
}

async function load(script) {
  const sdk = `
    export const ActionError = globalThis.ActionError;
    export const createSync = (options) => ({ kind: 'sync', ...options });
    export const createAction = (options) => ({ kind: 'action', ...options });`;
  const nango = { name: 'nango', setup(plan) {
    plan.onResolve({ filter: /^nango$/ }, () => ({ path: 'nango', namespace: 'sdk' }));
    plan.onLoad({ filter: /.*/, namespace: 'sdk' }, () => ({ contents: sdk }));
  } };
  const out = join(built, relative(root, script).replaceAll('/', '_') + '.mjs');
  const result = await build({ entryPoints: [script], bundle: true, format: 'esm', platform: 'node', target: 'es2022', write: false, logLevel: 'error', nodePaths: [modules], plugins: [nango] });
  writeFileSync(out, result.outputFiles[0].text);
  return (await import(pathToFileURL(out))).default;
}

function differences(recording, calls, output, error) {
  const wrong = [];
  const compare = (what, wanted, got) => {
    if (wanted === undefined) return;
    const [a, b] = [wanted, got].map((value) => JSON.stringify(sorted(value)));
    if (a !== b) wrong.push(`${what}\n      wanted ${a}\n      got    ${b}`);
  };
  const { nango = {}, error: failure } = recording;
  for (const name of ['batchSave', 'batchDelete', 'batchUpdate', 'trackDeletesEnd']) {
    if (nango[name] === undefined) continue;
    for (const model of new Set([...Object.keys(nango[name]), ...Object.keys(calls.done[name])])) {
      compare(`${name} ${model}`, nango[name][model] ?? [], calls.done[name][model] ?? []);
    }
  }
  compare('saveCheckpoint', nango.saveCheckpoint, calls.done.saveCheckpoint);
  compare('clearCheckpoint', nango.clearCheckpoint, calls.done.clearCheckpoint);
  compare('updateMetadata', nango.updateMetadata, calls.done.updateMetadata);
  compare('log', nango.log, calls.done.log);
  compare('output', recording.output, output);
  if (error && !failure) wrong.push(`failed: ${error.stack ?? error}`);
  if (failure && !error) wrong.push('did not fail');
  if (failure && error) {
    for (const part of failure.message ?? []) if (!String(error.message).includes(part)) wrong.push(`its message has no ${part}: ${error.message}`);
    compare('payload', failure.payload, error.payload);
  }
  // What a script that fails had yet to ask for says nothing; else each recorded answer is there for a request.
  if (!failure) for (const exchange of calls.api.unused()) wrong.push(`not asked for: ${exchange}`);
  return wrong;
}

let failed = 0;
let passed = 0;
for (const path of files(root).filter((path) => path.endsWith('.test.json') && path.includes(only)).sort()) {
  const recording = JSON.parse(readFileSync(path, 'utf8'));
  const script = await load(scriptOf(path));
  const calls = new Calls(recording);
  let output;
  let error;
  try {
    output = script.kind === 'sync' ? await script.exec(calls) : await script.exec(calls, recording.input);
  } catch (thrown) {
    error = thrown;
  }
  const wrong = differences(recording, calls, output, error);
  if (wrong.length) {
    failed += 1;
    console.log(`FAIL ${relative(root, path)}\n    ${wrong.join('\n    ')}`);
  } else {
    passed += 1;
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed ? 1 : 0;
