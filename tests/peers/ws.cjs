// npm `ws` as tests/peers/README.md describes it.
const fs = require("fs");
const http = require("http");
const https = require("https");
const { WebSocketServer } = require("ws");

const [certificate, key] = process.argv.slice(2);
const listener = certificate
  ? https.createServer({ cert: fs.readFileSync(certificate), key: fs.readFileSync(key) })
  : http.createServer();
const server = new WebSocketServer({
  server: listener,
  maxPayload: 16 << 20,
  perMessageDeflate: true,
  handleProtocols: (offered) => (offered.has("second") ? "second" : false),
});

server.on("connection", (socket, request) => {
  socket.on("close", (code, reason) => console.log(`closed ${code} ${reason}`));
  socket.on("error", (error) => console.error(error));
  socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
  switch (request.url) {
    case "/headers": {
      const fields = [];
      for (let at = 0; at < request.rawHeaders.length; at += 2) {
        fields.push(`${request.rawHeaders[at].toLowerCase()}: ${request.rawHeaders[at + 1]}`);
      }
      socket.send(fields.join("\n"));
      break;
    }
    case "/fragments":
      socket.send("frag", { fin: false });
      socket.send("men", { fin: false });
      socket.send("ted", { fin: true });
      break;
    case "/ping":
      socket.once("pong", () => socket.send("ponged"));
      socket.ping("are you there");
      break;
    case "/close":
      socket.close(4321, "grüße vom Server");
      break;
  }
});
listener.listen(0, "127.0.0.1", () => console.log(`listening on ${listener.address().port}`));
