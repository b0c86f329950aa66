// The thread of the sockets: answers the calls of client.mjs, one at a time.

const { workerData } = require('node:worker_threads');
const { Connection } = require('./connection.cjs');
const { Settings } = require('./settings.cjs');

const { port, signal, args } = workerData;
const settings = Settings.parse(args);
const connections = new Map();
let opened = 0;

const calls = {
    async connect(config) {
        const open = [...connections.values()].filter((connection) => !connection.over);
        connections.set(opened + 1, await Connection.open(config, settings, open.length));
        return ++opened;
    },
    send: (number, message) => connections.get(number).send(message),
    receive: (number) => connections.get(number).receive(),
    close: (number, code, reason) => connections.get(number).close(code, reason),
    state: (number) => connections.get(number).state,
    url: (number) => connections.get(number).url,
    subprotocol: (number) => connections.get(number).subprotocol,
    drop: (number) => connections.get(number).goAway(),
    async end() {
        for (const connection of connections.values()) connection.goAway();
        await Promise.all([...connections.values()].map((connection) => connection.ended));
    },
};

port.on('message', async ([name, args]) => {
    let answer;
    try {
        answer = { value: await calls[name](...args) };
    } catch (error) {
        // What has no tag is a mistake of this host, not an error of the package.
        if (!error.tag) throw error;
        answer = { error };
    }
    port.postMessage(answer);
    Atomics.store(signal, 0, 1);
    Atomics.notify(signal, 0);
});
