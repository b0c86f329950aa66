// A market feed over npm `ws`, as tests/peers/README.md describes it.
const readline = require("readline");
const { WebSocketServer } = require("ws");

const INTERVAL_MS = 20;

const history = [];
let current; // the client that commands are about
const server = new WebSocketServer({ host: "127.0.0.1", port: 0, autoPong: false });

setInterval(() => {
  history.push({ symbol: "EURUSD", seq: history.length + 1, price: 1 + (history.length % 100) / 1000 });
  for (const socket of server.clients) {
    if (!socket.subscribed || socket.silent) continue;
    if (socket.skip) socket.skip = false;
    else socket.send(JSON.stringify(history.at(-1)));
  }
}, INTERVAL_MS);

server.on("connection", (socket) => {
  current = socket;
  socket.on("close", (code, reason) => console.log(`closed ${code} ${reason}`));
  socket.on("error", (error) => console.error(error));
  socket.on("ping", (data) => socket.silent || socket.pong(data));
  socket.on("message", (data) => {
    const { op, symbol, after } = JSON.parse(data);
    if (op !== "subscribe") throw new Error(`nobody knows how to ${op}`);
    console.log(`subscribed ${symbol} after ${after}`);
    socket.subscribed = true;
    for (const tick of history.slice(after)) socket.send(JSON.stringify(tick));
  });
});
server.on("listening", () => console.log(`listening on ${server.address().port}`));

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const [command, code, ...reason] = line.split(" ");
  switch (command) {
    case "drop":
      return current.terminate();
    case "silence":
      return (current.silent = true);
    case "skip":
      return (current.skip = true);
    case "close":
      return current.close(Number(code), reason.join(" "));
    default:
      throw new Error(`nobody knows how to ${command}`);
  }
});
