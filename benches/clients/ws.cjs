// npm's ws as a contender: it does the jobs of benches/exchange that exchange text. Arguments: the folder of node_modules, and
// a JSON file with the text of each size.
const { createRequire } = require("node:module");
const { readFileSync } = require("node:fs");
const { createInterface } = require("node:readline");

const [folder, file] = process.argv.slice(2);
const WebSocket = createRequire(`${folder}/`)("ws");
const texts = JSON.parse(readFileSync(file, "utf8"));
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (value) => process.stdout.write(`${value}\n`);

async function exchange({ target, mode, size, count }) {
  const text = texts[size];
  const socket = new WebSocket(target.url, { perMessageDeflate: { threshold: 0 } });
  socket.on("error", (error) => { throw error; });
  await new Promise((open) => socket.once("open", open));
  say("ready");
  await lines.next();
  const began = process.hrtime.bigint();
  await new Promise((done) => {
    let received = 0;
    const expected = mode === "up" ? 1 : count;
    socket.on("message", (data) => {
      if (mode !== "up" && data.length !== size) throw new Error(`a message of ${data.length} bytes`);
      received += 1;
      if (received === expected) done();
      else if (mode === "ping-pong") socket.send(text);
    });
    for (let sent = 0; sent < (mode === "up" ? count : 1); sent += 1) socket.send(text);
  });
  const nanos = Number(process.hrtime.bigint() - began);
  socket.close();
  await new Promise((closed) => socket.once("close", closed));
  say(JSON.stringify({ nanos }));
}

(async () => {
  for (let line = await lines.next(); !line.done; line = await lines.next()) await exchange(JSON.parse(line.value).exchange);
})();
