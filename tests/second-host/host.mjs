// host.mjs [--SETTING VALUE]... FOLDER: runs a guest that transpile.mjs has made JavaScript of, as `websocket-provider run`
// does: with the same names of settings, and closing with 1001 what the guest leaves open.

import { pathToFileURL } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { end } from './client.mjs';

// Guests in JavaScript and Python need extended constant expressions, which Node 20 has not turned on.
if (process.version.startsWith('v20.')) setFlagsFromString('--experimental-wasm-extended-const');

// However the guest ends.
process.on('exit', end);
const folder = process.argv.at(-1);
// What is left is the guest's: its name. The settings are read already.
process.argv.splice(1, process.argv.length, folder);
const { run } = await import(pathToFileURL(`${folder}/guest.js`));
run.run();
process.exit();
