// The interface `client` for a guest, whose calls wait: each goes to the thread of the sockets, and this one sleeps until
// the answer is there.

import { MessageChannel, Worker, receiveMessageOnPort } from 'node:worker_threads';

const signal = new Int32Array(new SharedArrayBuffer(4));
const { port1: port, port2 } = new MessageChannel();
new Worker(new URL('sockets.cjs', import.meta.url), {
    workerData: { port: port2, signal, args: process.argv.slice(2) },
    transferList: [port2],
}).unref();

function call(name, ...args) {
    Atomics.store(signal, 0, 0);
    port.postMessage([name, args]);
    Atomics.wait(signal, 0, 0);
    const { value, error } = receiveMessageOnPort(port).message;
    // The glue makes the error of a result of whatever has a payload.
    if (error) throw Object.assign(new Error(error.tag), { payload: error });
    return value;
}

class Connection {
    #number;

    static open(config) {
        const connection = new Connection();
        connection.#number = call('connect', config);
        return connection;
    }

    send(message) {
        call('send', this.#number, message);
    }

    receive() {
        return call('receive', this.#number);
    }

    close(code, reason) {
        call('close', this.#number, code, reason);
    }

    getState() {
        return call('state', this.#number);
    }

    getUrl() {
        return call('url', this.#number);
    }

    getSubprotocol() {
        return call('subprotocol', this.#number);
    }

    [Symbol.dispose ?? Symbol.for('dispose')]() {
        call('drop', this.#number);
    }
}

const connect = Connection.open;

/** Closes what is open with 1001, and waits until it is closed. */
function end() {
    call('end');
}

export { Connection, connect, end };
