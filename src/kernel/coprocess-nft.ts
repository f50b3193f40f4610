// `nft -i` kept open: one line is one transaction, so the statements go into a file that the line includes. A static
// description serves as acknowledgement; errors are printed and the process lives on (nft 1.0.6).
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CoprocessDriver } from './coprocess-driver.js';

const ACKNOWLEDGEMENT = 'meta expression, datatype mark (packet mark) (basetype integer), 32 bits\n';
const ASK = 'describe mark\n';
/** nft -f - calls its input so. */
const STDIN_NAME = '/dev/stdin';

/** For commands of argv `nft -f -`. */
export const nftDriver: CoprocessDriver = {
  bufferMode: '-o0',
  probe: '',
  processArgv: (argv) => [...argv.slice(0, argv.indexOf('-f')), '-i'],
  frame(text) {
    const folder = text === '' ? null : mkdtempSync(join(tmpdir(), 'fdp-nft-'));
    const file = folder === null ? '' : join(folder, 'script');
    if (folder !== null) writeFileSync(file, text, { mode: 0o600 });
    return {
      input: folder === null ? ASK : `include "${file}"\n${ASK}`,
      isAcknowledged: (output) => output.endsWith(ACKNOWLEDGEMENT),
      body: (output) => output.slice(0, -ACKNOWLEDGEMENT.length),
      normalise: (said) => {
        const withoutPlace = said.replace(/^In file included from .*\n/gm, '');
        return file === '' ? withoutPlace : withoutPlace.replaceAll(file, STDIN_NAME);
      },
      dispose: () => {
        if (folder !== null) rmSync(folder, { recursive: true, force: true });
      },
    };
  },
  isRefusal: (body) => /(^|: )Error: /m.test(body),
};
