// Runs a bundle with `--version` and saves V8's cached data of what was compiled on the way.
const { readFileSync, rmSync, writeFileSync } = require('node:fs');
const { createRequire } = require('node:module');
const { dirname } = require('node:path');
const vm = require('node:vm');

const file = process.argv[2];
rmSync(`${file}.cache`, { force: true });
// The same wrapper as bin/felix-dataplane: cached data belongs to one exact text.
const script = new vm.Script(
  `(function (exports, require, module, __filename, __dirname) {${readFileSync(file, 'utf8')}\n})`,
  {
    filename: file,
    importModuleDynamically: vm.constants?.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  },
);
console.log = () => undefined;
process.once('exit', () => writeFileSync(`${file}.cache`, script.createCachedData()));
process.argv = [process.execPath, file, '--version'];
const module_ = { exports: {} };
script.runInThisContext()(module_.exports, createRequire(file), module_, file, dirname(file));
