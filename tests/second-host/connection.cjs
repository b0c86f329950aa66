// One WebSocket over npm `ws`, as wit/README.md promises it; README.md here lists where the two part.

const { once } = require('node:events');
const { writeSync } = require('node:fs');
const { setTimeout: sleep } = require('node:timers/promises');
const WebSocket = require('ws');
const { requestOf } = require('./request.cjs');

const STATES = ['connecting', 'open', 'closing', 'closed'];
const LOST = 1006;
// What may wait to be written, in bytes, when one more message is taken.
const ROOM = 64 * 1024;
// How many unread pings wait, and how many unread pongs.
const MAX_UNREAD_CONTROL = 16;
// The codes that a close frame may carry, first and last of each range; `ws` has the same for those that it receives.
const CLOSE_CODES = [[1000, 1003], [1007, 1014], [3000, 4999]];
const TOO_LARGE = ['WS_ERR_UNSUPPORTED_MESSAGE_LENGTH', 'WS_ERR_UNSUPPORTED_DATA_PAYLOAD_LENGTH'];

/** An error of the package, as the guest gets it. */
function failure(tag, val) {
    return { tag, val };
}

class Connection {
    #ws;
    #socket;
    #settings;
    #most;
    // What `receive` is still to give: messages, and failures of which one at most ends the connection.
    #inbox = [];
    #waiting = 0;
    #wake = () => {};
    #failed;
    // Whether `receive` has given the failure that ends the connection, and whether a `send` has.
    #told = false;
    #sendTold = false;
    #keepalivePayload;
    #timer;

    /** Opens a connection for a guest that has so many already. */
    static async open(config, settings, count) {
        const request = requestOf(config, settings);
        if (count >= settings['max-connections']) {
            throw failure('connection-failed', 'the guest has as many as `max-connections` allows');
        }
        if (!settings.allows(request.url)) {
            throw failure('authentication-failed', `no rule of allow grants ${request.url.host}`);
        }
        const connection = new Connection(config, settings, request);
        await connection.#opened(request.timeout);
        connection.#keepAlive(config);
        return connection;
    }

    constructor(config, settings, request) {
        this.#settings = settings;
        this.#most = Math.min(
            config.maxMessageSize ?? settings['max-message-size'],
            settings['max-message-size-limit'],
        );
        this.url = request.url.href;
        const ws = new WebSocket(request.url, request.subprotocols, {
            headers: request.headers,
            perMessageDeflate: false,
            maxPayload: this.#most,
            // Otherwise it ends a connection whose peer sends many pings at once.
            maxPendingAutoPongs: 0,
            closeTimeout: settings['close-timeout'],
        });
        this.#ws = ws;
        ws.on('upgrade', ({ socket }) => (this.#socket = socket));
        ws.on('message', (data, binary) => {
            this.#put({ tag: binary ? 'binary' : 'text', val: binary ? data : data.toString() }, data.length);
        });
        ws.on('ping', (data) => this.#putControl('ping', data));
        ws.on('pong', (data) => {
            if (!this.#keepalivePayload?.equals(data)) this.#putControl('pong', data);
        });
        this.ended = new Promise((ended) => ws.on('close', ended));
    }

    async #opened(limit) {
        const ws = this.#ws;
        let timer;
        try {
            await new Promise((resolve, reject) => {
                timer = setTimeout(() => reject(failure('timeout')), limit);
                ws.on('open', resolve);
                ws.on('unexpected-response', (_, response) => refusal(response).then(reject));
                ws.on('error', (error) => {
                    const network = error.syscall || error.errors || error.code === 'ECONNRESET';
                    reject(failure(network ? 'connection-failed' : 'protocol-error', error.message));
                });
            });
        } catch (error) {
            ws.terminate();
            throw error;
        } finally {
            clearTimeout(timer);
        }
        // At once: the main thread, which has the streams, sleeps.
        writeSync(2, `opened ${this.url}\n`);
        this.subprotocol = ws.protocol || undefined;
        ws.removeAllListeners('error');
        ws.on('error', (error) => {
            const tag = TOO_LARGE.includes(error.code)
                ? 'invalid-message'
                : error.code?.startsWith('WS_ERR_') ? 'protocol-error' : 'io-error';
            this.#fail(tag, error.message);
        });
        ws.on('close', (code, reason) => this.#closed(code, reason.toString()));
    }

    #keepAlive(config) {
        if (!(config.enableKeepalive ?? this.#settings.keepalive)) return;
        const wish = config.keepaliveIntervalMs ?? this.#settings['keepalive-interval'];
        const [ws, socket] = [this.#ws, this.#socket];
        let [seen, asked] = [socket.bytesRead, false];
        this.#timer = setInterval(() => {
            if (socket.bytesRead !== seen || ws.isPaused) {
                [seen, asked] = [socket.bytesRead, false];
            } else if (!asked) {
                asked = true;
                this.#keepalivePayload = Buffer.from(String(Math.random()));
                ws.ping(this.#keepalivePayload);
            } else {
                this.#fail('timeout');
                ws.close(1011, 'keep-alive timeout');
                ws.terminate();
            }
        }, Math.max(wish, this.#settings['keepalive-floor']));
    }

    #put(message, size = 0) {
        this.#inbox.push({ message, size });
        this.#waiting += size;
        if (this.#waiting > this.#settings['inbound-buffer']) this.#ws.pause();
        this.#wake();
    }

    /** Pings and pongs have no size: the newest wait, so that they never stop the socket. */
    #putControl(tag, val) {
        const same = ({ message }) => message?.tag === tag;
        if (this.#inbox.filter(same).length === MAX_UNREAD_CONTROL) this.#inbox.splice(this.#inbox.findIndex(same), 1);
        this.#put({ tag, val });
    }

    #fail(tag, val) {
        if (this.#failed) return;
        this.#failed = failure(tag, val);
        this.#inbox.push({ failed: this.#failed, size: 0 });
        this.#wake();
    }

    #closed(code, reason) {
        clearInterval(this.#timer);
        if (code !== LOST) {
            if (!this.#failed) this.#put({ tag: 'close', val: { code, reason: reason || undefined } });
        } else if (this.closing) {
            this.#fail('timeout');
        } else {
            this.#fail('io-error', 'the connection ended without a close frame');
        }
        this.#wake();
    }

    /** Whether its transport is gone. */
    get over() {
        return this.#ws.readyState === WebSocket.CLOSED;
    }

    get state() {
        return STATES[this.#ws.readyState];
    }

    async send(message) {
        const { tag, val } = message;
        if (tag === 'close') return this.close(val.code, val.reason);
        const data = tag === 'text' ? Buffer.from(val) : val;
        const most = tag === 'ping' || tag === 'pong' ? 125 : this.#most;
        if (data.length > most) throw failure('invalid-message', `${data.length} bytes are more than ${most}`);
        if (this.#ws.readyState !== WebSocket.OPEN) {
            const untold = !this.#sendTold && this.#inbox.some(({ failed }) => failed);
            this.#sendTold = true;
            throw untold ? this.#failed : failure('connection-closed');
        }
        await this.#room();
        if (tag === 'ping') this.#ws.ping(data);
        else if (tag === 'pong') this.#ws.pong(data);
        else this.#ws.send(data, { binary: tag === 'binary' });
    }

    /** Waits until little is left to write: a message that was given to `ws` cannot be had back. */
    async #room() {
        const [ws, socket] = [this.#ws, this.#socket];
        if (ws.bufferedAmount < ROOM) return;
        const [limit, settled] = [AbortSignal.timeout(this.#settings['write-timeout']), new AbortController()];
        const signal = AbortSignal.any([limit, settled.signal]);
        try {
            await Promise.race([once(socket, 'drain', { signal }), once(socket, 'close', { signal })]);
        } catch {
            throw failure('timeout');
        } finally {
            settled.abort();
        }
        if (ws.readyState !== WebSocket.OPEN) throw this.#failed ?? failure('connection-closed');
    }

    async receive() {
        if (this.#inbox.length === 0 && !this.over && !this.#told) {
            let timer;
            await new Promise((resolve) => {
                this.#wake = resolve;
                timer = setTimeout(resolve, this.#settings['receive-wait']);
            });
            clearTimeout(timer);
        }
        const next = this.#inbox.shift();
        if (!next) {
            if (this.over || this.#told) throw failure('connection-closed');
            return undefined;
        }
        this.#waiting -= next.size;
        if (this.#waiting <= this.#settings['inbound-buffer']) this.#ws.resume();
        if (next.failed) {
            this.#told = true;
            throw next.failed;
        }
        return next.message;
    }

    close(code, reason) {
        if (code !== undefined && !CLOSE_CODES.some(([first, last]) => first <= code && code <= last)) {
            throw failure('invalid-message', `${code} may not be sent`);
        }
        if (reason !== undefined && Buffer.byteLength(reason) > 123) {
            throw failure('invalid-message', 'a reason has at most 123 bytes');
        }
        if (this.#ws.readyState !== WebSocket.OPEN) return;
        this.closing = true;
        if (code === undefined && reason === undefined) this.#ws.close();
        else this.#ws.close(code ?? 1000, reason);
    }

    /** Closes because nobody is left who could. */
    goAway() {
        this.#ws.resume();
        this.#ws.close(1001);
    }
}

/** What a server says that does not upgrade: the first bytes of it, and no longer than half a second. */
async function refusal(response) {
    const { statusCode, headers } = response;
    let body = Buffer.alloc(0);
    const read = async () => {
        for await (const chunk of response) {
            body = Buffer.concat([body, chunk]).subarray(0, 1024);
            if (body.length === 1024) break;
        }
    };
    await Promise.race([read().catch(() => {}), sleep(500)]);
    const text = new TextDecoder().decode(body, { stream: true });
    const denied = [401, 403, 407].includes(statusCode);
    const tag = denied ? 'authentication-failed' : statusCode === 101 ? 'protocol-error' : 'connection-failed';
    return failure(tag, `the server answered ${statusCode} ${headers.location ?? ''} ${text}`);
}

module.exports = { Connection };
