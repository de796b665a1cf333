// Code from texts is off: `eval`, `new Function` and its kin throw. In this sandbox it would be harmless, but what a script
// does should be what its operator can read. zod asks once and then does without.
const message = 'code from a text is not run here (eval, new Function): put it into a module of the script';

function refused(name, prototype) {
    const stub = { [name]: function () { throw new EvalError(message); } }[name];
    Object.defineProperty(stub, 'prototype', { value: prototype, writable: false });
    Object.defineProperty(prototype, 'constructor', { value: stub, configurable: false, writable: false, enumerable: false });
    return stub;
}

export const Function = refused('Function', globalThis.Function.prototype);
refused('AsyncFunction', Object.getPrototypeOf(async function () {}));
refused('GeneratorFunction', Object.getPrototypeOf(function* () {}));
refused('AsyncGeneratorFunction', Object.getPrototypeOf(async function* () {}));

const refusedEval = { eval() { throw new EvalError(message); } }.eval;
export { refusedEval as eval_ };
