import { host } from './host.js';
export class Context {
    constructor(script, context) { this.context = context; }
    log(message) { host.log("info", String(message), undefined); }
}
export class SyncContext extends Context {
    async batchSave(rows, model) { return host.batchSave(model, rows); }
}
export class ActionContext extends Context {}
