// DOMException, which QuickJS may not have; the names that aborting, cloning and Base64 use.
const CODES = { InvalidCharacterError: 5, NotSupportedError: 9, SyntaxError: 12, AbortError: 20, TimeoutError: 23, DataCloneError: 25 };

export class DOMException extends Error {
    #name;
    constructor(message = '', name = 'Error') {
        super(message);
        this.#name = name;
    }
    get name() { return this.#name; }
    get code() { return CODES[this.#name] ?? 0; }
}
