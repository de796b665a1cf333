// The engine's native functions. They are taken off the global object before any script runs, and what the SDK needs of
// JavaScript's own is kept here, so that a script that changes `JSON` or `Map.prototype` breaks itself alone.
export const host = Object.freeze(globalThis.__terapi);

const { call } = Function.prototype;

/** A method as a function that takes its object first, whatever becomes of the prototype. */
export const uncurried = (method) => call.bind(method);

export const stringify = JSON.stringify;

export const isArray = Array.isArray;
export const ownKeys = Object.keys;
export const hasOwn = Object.hasOwn;
export const freeze = Object.freeze;

export const mapGet = uncurried(Map.prototype.get);
export const mapSet = uncurried(Map.prototype.set);
export const mapDelete = uncurried(Map.prototype.delete);

/** JSON.parse, by the engine's parser, which refuses what nests too deep. */
export const parse = host.parseJson;
