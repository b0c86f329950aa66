// The settings of the contract that this host knows, by the names and in the notation of the program's flags.

const { parseArgs } = require('node:util');

const DURATIONS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
const SIZES = { '': 1, KiB: 1 << 10, MiB: 1 << 20 };

function quantity(units) {
    return (text) => {
        const [, number, unit] = /^([0-9]+)([a-zA-Z]*)$/.exec(text) ?? [];
        if (!(unit in units)) throw new Error(`${text} is not a quantity in ${Object.keys(units)}`);
        return Number(number) * units[unit];
    };
}

const duration = quantity(DURATIONS);
const size = quantity(SIZES);
const boolean = (text) => text === 'true';

// Name: its default and how it is read.
const KNOWN = {
    'receive-wait': ['1s', duration],
    'connect-timeout': ['30s', duration],
    'connect-timeout-max': ['2m', duration],
    'close-timeout': ['10s', duration],
    'write-timeout': ['30s', duration],
    keepalive: ['true', boolean],
    'keepalive-interval': ['30s', duration],
    'keepalive-floor': ['1s', duration],
    'max-message-size': ['16MiB', size],
    'max-message-size-limit': ['64MiB', size],
    'inbound-buffer': ['1MiB', size],
    'max-connections': ['1024', Number],
    'user-agent': ['websocket-provider/0.2.0', String],
};

class Settings {
    /** Reads a command line: settings, rules of `allow`, and what else there is. */
    static parse(args) {
        const options = { allow: { type: 'string', multiple: true, default: [] } };
        for (const [name, [value]] of Object.entries(KNOWN)) options[name] = { type: 'string', default: value };
        const { values } = parseArgs({ args, options, allowPositionals: true });
        const settings = new Settings();
        settings.allow = values.allow;
        for (const [name, [, read]] of Object.entries(KNOWN)) settings[name] = read(values[name]);
        return settings;
    }

    /** Whether a rule names this URL's host, `localhost` standing for all of loopback; there are no other kinds of rule. */
    allows({ hostname, host }) {
        const loopback = hostname === 'localhost' || hostname === '[::1]' || hostname.startsWith('127.');
        return this.allow.some((rule) => rule === hostname || rule === host || (rule === 'localhost' && loopback));
    }
}

module.exports = { Settings };
