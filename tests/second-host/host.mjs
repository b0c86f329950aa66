// host.mjs [--SETTING VALUE]... FOLDER: runs a guest that transpile.mjs has made JavaScript of, as `websocket-provider run`
// does: with the same names of settings, and closing with 1001 what the guest leaves open.

import { pathToFileURL } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { end } from './client.mjs';

// Guests in JavaScript and Python need extended constant expressions, which Node 20 has not turned on.
if (process.version.startsWith('v20.')) setFlagsFromString('--experimental-wasm-extended-const');

// However the guest ends.
process.on('exit', end);
const { run } = await import(pathToFileURL(`${process.argv.at(-1)}/guest.js`));
run.run();
process.exit();
