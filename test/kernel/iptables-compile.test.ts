// What we write by netlink in iptables-nft mode is, byte by byte, what iptables-nft-restore writes: every form that
// rules have, and every script of every recording.
import { testRestores } from './support/restore-comparison.js';
import { testProgram } from './support/test-program.js';

testRestores('nft', testProgram('iptables-compile'));
