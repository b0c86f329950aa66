// Follows one symbol of a market feed: prints each tick once and in order, whatever happens to the connection.
import { getArguments } from 'wasi:cli/environment@0.2.0';
import { exitWithCode } from 'wasi:cli/exit@0.2.12';
import { getStderr } from 'wasi:cli/stderr@0.2.0';
import { getStdout } from 'wasi:cli/stdout@0.2.0';
import { subscribeDuration } from 'wasi:clocks/monotonic-clock@0.2.0';
import { getInsecureRandomU64 } from 'wasi:random/insecure@0.2.0';
import { connect } from 'wasmcloud:websocket/client@0.1.0-draft';

const ABOUT = `Prints each tick of SYMBOL once and in order, from the market feed at URL, until the feed ends
or COUNT ticks have come.`;
const USAGE = 'usage: follower URL SYMBOL [COUNT]';
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 10_000;
const ATTEMPTS = 8;
const NORMAL_CLOSURE = 1000;

// QuickJS has neither console nor TextEncoder.
function print(stream, line) {
  const utf8 = unescape(encodeURIComponent(`${line}\n`));
  stream.blockingWriteAndFlush(Uint8Array.from(utf8, (byte) => byte.charCodeAt(0)));
}
const out = (line) => print(getStdout(), line);
const log = (line) => print(getStderr(), line);

// What a call of the interface throws has the WIT's error as its payload.
function describe({ payload, message }) {
  return payload ? [payload.tag, payload.val].filter(Boolean).join(': ') : message;
}

// What another connection may put right.
class Lost extends Error {}

function call(operation) {
  try {
    return operation();
  } catch (error) {
    const hopeless = ['invalid-url', 'authentication-failed', undefined].includes(error.payload?.tag);
    throw hopeless ? error : new Lost(describe(error));
  }
}

// Doubles, and is shortened by up to half by chance, so that the clients of a feed that restarts do not all come
// back at once.
function pause(failures) {
  const longest = Math.min(FIRST_PAUSE_MS * 2 ** failures, LONGEST_PAUSE_MS);
  const ms = Math.round(longest * (0.5 + (0.5 * Number(getInsecureRandomU64())) / 2 ** 64));
  log(`again in ${ms} ms`);
  // QuickJS takes a u64 as a number.
  subscribeDuration(ms * 1_000_000).block();
}

// The ticks of one symbol: each has the number after that of the one before.
class Ticks {
  last = 0;
  #newest = 0;
  #behind = false; // ticks are missing that the feed has been asked for

  constructor(symbol, end) {
    this.symbol = symbol;
    this.end = end;
  }

  subscribe(connection) {
    const val = JSON.stringify({ op: 'subscribe', symbol: this.symbol, after: this.last });
    call(() => connection.send({ tag: 'text', val }));
  }

  take(connection, text) {
    const { symbol, seq, price } = JSON.parse(text);
    const missing = this.last + 1;
    if (symbol !== this.symbol || seq < missing) return;
    if (seq === missing) {
      this.last = seq;
      this.#behind = false;
      out(`${symbol} ${seq} ${price}`);
      return;
    }
    // What was on its way already when the feed was asked is newer than all before it.
    const asked = this.#behind && seq > this.#newest;
    this.#behind = true;
    this.#newest = Math.max(this.#newest, seq);
    if (asked) return;
    log(`gap: tick ${seq} came instead of ${missing}; subscribing again`);
    this.subscribe(connection);
  }
}

// Waits for the feed's own close frame: only then has it seen ours.
function drain(connection) {
  try {
    while (connection.receive()?.tag !== 'close');
  } catch (error) {
    if (error.payload?.tag !== 'connection-closed') {
      log(`the feed did not complete the closing handshake: ${describe(error)}`);
    }
  }
}

// Until there is nothing more to follow; throws what ends the connection earlier.
function session(url, ticks) {
  // The host pings a feed that is silent, and reports one that does not answer either.
  const connection = call(() =>
    connect({ url, timeoutMs: 5000, maxMessageSize: 65_536, enableKeepalive: true, keepaliveIntervalMs: 1000 }),
  );
  try {
    log(`connected to ${connection.getUrl()}`);
    ticks.subscribe(connection);
    while (ticks.last < ticks.end) {
      // undefined where nothing has come for a while
      const message = call(() => connection.receive());
      if (message?.tag === 'text') ticks.take(connection, message.val);
      if (message?.tag !== 'close') continue;
      const { code, reason } = message.val;
      if (code === NORMAL_CLOSURE) return;
      throw new Lost(`the feed closed with ${code} ${reason ?? ''}`);
    }
    connection.close(NORMAL_CLOSURE, 'followed');
    drain(connection);
  } finally {
    connection[Symbol.dispose]?.();
  }
}

function misused(why) {
  log(`follower: ${why}\n${USAGE}`);
  exitWithCode(2);
}

function follow([, ...args]) {
  if (args.some((arg) => arg === '--help' || arg === '-h')) {
    out(`${ABOUT}\n${USAGE}`);
    return;
  }
  const option = args.find((arg) => arg.startsWith('-'));
  if (option !== undefined) misused(`unknown option ${option}`);
  const [url, symbol, count] = args;
  if (args.length < 2) misused('URL and SYMBOL are missing');
  if (args.length > 3) misused(`unexpected argument ${args[3]}`);
  if (count !== undefined && !/^\d+$/.test(count)) misused(`COUNT is ${count}, which is not a number`);
  const ticks = new Ticks(symbol, count === undefined ? Infinity : Number(count));
  for (let failures = 0; ; failures += 1) {
    const before = ticks.last;
    try {
      session(url, ticks);
      return;
    } catch (error) {
      if (!(error instanceof Lost)) throw error;
      if (ticks.last > before) failures = 0;
      if (failures === ATTEMPTS) throw new Error(`gave up: ${error.message}`);
      log(`lost: ${error.message}`);
      pause(failures);
    }
  }
}

export const run = {
  run() {
    try {
      follow(getArguments());
    } catch (error) {
      log(`follower: ${describe(error)}`);
      throw undefined;
    }
  },
};
