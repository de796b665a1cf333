// toLocaleString without Intl: as en-US has it, in UTC. Another locale is refused rather than ignored.
import { isArray, ownKeys } from '../host.js';

function wanted(method, locales, options, known) {
    const locale = isArray(locales) ? locales[0] : locales;
    if (locale !== undefined && !/^en(-US)?$/.test(String(locale))) {
        throw new RangeError(`${method}: the locale ${String(locale)} is not available, en-US alone is (there is no Intl)`);
    }
    const given = options ?? {};
    const other = ownKeys(given).find((name) => given[name] !== undefined && !known(name, given[name]));
    if (other !== undefined) throw new RangeError(`${method}: the option ${other}: ${String(given[other])} is not available (there is no Intl): format it by hand`);
    return given;
}

const grouped = (digits) => digits.replace(/\B(?=(\d{3})+$)/g, ',');

function number(locales, options) {
    const value = Number(this);
    const { minimumFractionDigits: least = 0, maximumFractionDigits: most = Math.max(least, 3) } = wanted('toLocaleString', locales, options, (name) => /^m(in|ax)imumFractionDigits$/.test(name));
    if (Number.isNaN(value)) return 'NaN';
    const sign = value < 0 || Object.is(value, -0) ? '-' : '';
    const size = Math.abs(value);
    if (size === Infinity) return `${sign}∞`;
    let [whole, fraction = ''] = size < 1e21 ? size.toFixed(most).split('.') : [BigInt(size).toString()];
    while (fraction.length > least && fraction.endsWith('0')) fraction = fraction.slice(0, -1);
    return `${sign}${grouped(whole)}${fraction === '' ? '' : `.${fraction}`}`;
}

const utc = (name, value) => name === 'timeZone' && /^(utc|etc\/utc|gmt)$/i.test(String(value));
const two = (value) => String(value).padStart(2, '0');
const date = (at) => `${at.getMonth() + 1}/${at.getDate()}/${at.getFullYear()}`;
const time = (at) => `${at.getHours() % 12 || 12}:${two(at.getMinutes())}:${two(at.getSeconds())} ${at.getHours() < 12 ? 'AM' : 'PM'}`;
const shown = (method, show) => ({
    [method](locales, options) {
        wanted(method, locales, options, utc);
        return Number.isNaN(this.getTime()) ? 'Invalid Date' : show(this);
    },
})[method];

const install = (prototype, name, value) => Object.defineProperty(prototype, name, { value, writable: true, configurable: true, enumerable: false });
install(Number.prototype, 'toLocaleString', { toLocaleString: number }.toLocaleString);
install(BigInt.prototype, 'toLocaleString', { toLocaleString(locales, options) { wanted('toLocaleString', locales, options, () => false); return `${this < 0n ? '-' : ''}${grouped(String(this < 0n ? -this : this))}`; } }.toLocaleString);
install(Date.prototype, 'toLocaleDateString', shown('toLocaleDateString', date));
install(Date.prototype, 'toLocaleTimeString', shown('toLocaleTimeString', time));
install(Date.prototype, 'toLocaleString', shown('toLocaleString', (at) => `${date(at)}, ${time(at)}`));
