// `ipset restore` kept open: buffered members are sent when another command follows, so the short listing of the set
// that the last line names serves as acknowledgement. An error ends the process (ipset 7.17).
import type { CoprocessDriver } from './coprocess-driver.js';

const LISTING_END = /Number of entries: \d+\n$/;
const LISTING_START = /^Name: /m;

/**
 * Name of the set that exists after the script if it succeeds, or null if the last line destroys one: such a script
 * cannot be acknowledged.
 */
export function lastSetName(script: string): string | null {
  const end = script.endsWith('\n') ? script.length - 1 : script.length;
  const [verb, first, second] = script.slice(script.lastIndexOf('\n', end - 1) + 1, end).split(' ');
  const name = verb === 'swap' ? second : first;
  return verb === 'destroy' || name === undefined || name === '' ? null : name;
}

/** argv must have `-exist` for the whole process: on one line it would stick for all later ones. */
export const ipsetRestoreDriver: CoprocessDriver = {
  bufferMode: '-o0',
  probe: null,
  processArgv: (argv) => argv,
  frame(text) {
    const lines = text.endsWith('\n') ? text : `${text}\n`;
    return {
      input: `${lines}list ${lastSetName(text) ?? ''} -terse\n`,
      isAcknowledged: (output) => LISTING_END.test(output),
      body: (output) => output.slice(0, Math.max(0, output.search(LISTING_START))),
      normalise: (said, linesBefore) =>
        said.replace(/Error in line (\d+)/g, (_whole, line: string) => `Error in line ${Number(line) - linesBefore}`),
      dispose: () => undefined,
    };
  },
  isRefusal: () => false,
};
