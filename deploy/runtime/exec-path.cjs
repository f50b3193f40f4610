// Started by its loader, Node takes the loader for its own executable. Whoever starts Node again (the driver does, for
// its broker process) has to go through the wrapper beside this file.
const { join } = require('node:path');

process.execPath = join(__dirname, 'node');
process.argv[0] = process.execPath;
