// Sends a greeting to the WebSocket server that WS_URL names, and prints the answer.
import { getArguments, getEnvironment } from 'wasi:cli/environment@0.2.0';
import { exitWithCode } from 'wasi:cli/exit@0.2.12';
import { getStderr } from 'wasi:cli/stderr@0.2.0';
import { getStdout } from 'wasi:cli/stdout@0.2.0';
import { connect } from 'wasmcloud:websocket/client@0.1.0-draft';

const ABOUT = 'Sends a greeting to the WebSocket server that WS_URL names, and prints the answer.';
const USAGE = 'usage: hello, with a server in WS_URL, such as ws://localhost:9001/';

// QuickJS has neither console nor TextEncoder.
function print(stream, line) {
  const utf8 = unescape(encodeURIComponent(`${line}\n`));
  stream.blockingWriteAndFlush(Uint8Array.from(utf8, (byte) => byte.charCodeAt(0)));
}

// What a call of the interface throws has the WIT's error as its payload.
function describe(error) {
  const { tag, val } = error.payload ?? {};
  return tag ? [tag, val].filter(Boolean).join(': ') : String(error);
}

function misused(why) {
  print(getStderr(), `hello: ${why}\n${USAGE}`);
  exitWithCode(2);
}

function hello(url) {
  const connection = connect({ url, timeoutMs: 5000 });
  connection.send({ tag: 'text', val: 'Hello from JavaScript!' });
  let answer;
  do {
    // undefined where nothing has come yet
    answer = connection.receive();
    if (answer?.tag === 'close') throw new Error(`the server closed with ${answer.val.code} and no answer`);
  } while (answer?.tag !== 'text');
  print(getStdout(), `the server answered: ${answer.val}`);
  connection.close(1000, undefined);
}

export const run = {
  run() {
    const [, argument] = getArguments();
    if (argument === '--help' || argument === '-h') {
      print(getStdout(), `${ABOUT}\n${USAGE}`);
      return;
    }
    if (argument !== undefined) misused(`unexpected argument ${argument}`);
    const url = new Map(getEnvironment()).get('WS_URL');
    if (!url) misused('WS_URL is not set');
    try {
      hello(url);
    } catch (error) {
      print(getStderr(), `hello: ${describe(error)}`);
      throw undefined;
    }
  },
};
