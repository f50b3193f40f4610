// What we write by setsockopt in iptables-legacy mode is, byte by byte, what iptables-legacy-restore writes, and leaves
// the same counters: every form that rules have, and every script of every recording.
import { testRestores } from './support/restore-comparison.js';
import { testProgram } from './support/test-program.js';

/** Scripts of two transactions are the tool's. */
const isTwo = (script: string): boolean => script.indexOf('COMMIT') !== script.lastIndexOf('COMMIT');

testRestores('legacy', testProgram('legacy-compile'), isTwo);
