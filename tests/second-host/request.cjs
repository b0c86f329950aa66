// What a guest asks for, held against the contract before any use of the network.

const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const RESERVED = new RegExp(
    '^(host|connection|upgrade|content-length|transfer-encoding|sec-websocket-.*' +
        '|te|trailer|keep-alive|http2-settings|proxy-.*|expect)$',
    'i',
);
const MOST = 64 * 1024;

/** The request that a `client-config` makes; throws an error of the package. */
function requestOf(config, settings) {
    const url = urlOf(config.url);
    const subprotocols = config.subprotocols ?? [];
    const fields = (config.headers ?? []).map(({ name, value }) => [name, value]);
    for (const name of subprotocols) {
        if (!TOKEN.test(name)) throw protocol(`${JSON.stringify(name)} is not a subprotocol`);
    }
    if (new Set(subprotocols).size < subprotocols.length) throw protocol('a subprotocol is offered twice');
    for (const [name, value] of fields) {
        if (!TOKEN.test(name)) throw protocol(`${JSON.stringify(name)} is not a header name`);
        if (/[\r\n\0]/.test(value)) throw protocol(`the value of ${name} has a line break or a NUL`);
        if (RESERVED.test(name)) throw protocol(`${name} is the host's to write`);
    }
    const size = [...subprotocols, ...fields.flat()].reduce((sum, text) => sum + Buffer.byteLength(text), 0);
    if (size >= MOST) throw protocol(`subprotocols and fields have more than ${MOST} bytes`);
    const { username, password } = url;
    if ((username || password) && !fields.some(([name]) => name.toLowerCase() === 'authorization')) {
        const credentials = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
        fields.push(['Authorization', `Basic ${Buffer.from(credentials).toString('base64')}`]);
    }
    if (settings['user-agent'] && !fields.some(([name]) => name.toLowerCase() === 'user-agent')) {
        fields.unshift(['User-Agent', settings['user-agent']]);
    }
    url.username = url.password = '';
    const headers = {};
    for (const [name, value] of fields) (headers[name] ??= []).push(Buffer.from(value).toString('latin1'));
    const most = settings['connect-timeout-max'];
    const timeout = Math.min(config.timeoutMs ?? settings['connect-timeout'], most) || most;
    return { url, subprotocols, headers, timeout };
}

function urlOf(text) {
    const invalid = (why) => ({ tag: 'invalid-url', val: why });
    if (text.length > MOST) throw invalid(`it has more than ${MOST} bytes`);
    if (!URL.canParse(text)) throw invalid('it is not an absolute URL');
    const url = new URL(text);
    if (!['ws:', 'wss:'].includes(url.protocol)) throw invalid(`its scheme is ${url.protocol}`);
    if (text.includes('#')) throw invalid('it has a fragment');
    if (url.port === '0') throw invalid('its port is 0');
    if (url.hostname.length > 253) throw invalid('its host is too long');
    if (/%([01][0-9A-F]|7F|C2%[89][0-9A-F])/i.test(url.username + url.password)) {
        throw invalid('the user or the password has a control character');
    }
    if (/%3A/i.test(url.username)) throw invalid('the user has a colon');
    return url;
}

function protocol(why) {
    return { tag: 'protocol-error', val: why };
}

module.exports = { requestOf };
