// transpile.mjs GUEST FOLDER: makes JavaScript of a component, as `jco transpile` does, with our client in the place of
// the package's.

import { mkdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const [guest, folder] = process.argv.slice(2);
const { transpile } = await import(
    pathToFileURL(createRequire(import.meta.url).resolve('@bytecodealliance/jco-transpile'))
);
const client = fileURLToPath(new URL('client.mjs', import.meta.url));
const { files } = await transpile(guest, {
    name: 'guest',
    outDir: folder,
    emitTypescriptDeclarations: false,
    map: { 'wasmcloud:websocket/client': client },
});
for (const [name, source] of Object.entries(files)) {
    mkdirSync(dirname(name), { recursive: true });
    writeFileSync(name, source);
}
