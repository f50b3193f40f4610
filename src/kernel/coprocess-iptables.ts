// iptables-restore kept open: each COMMIT is applied when it is read, and with --verbose a comment is echoed, which
// serves as acknowledgement. An error ends the process; what was committed before stands (iptables 1.8.9).
import type { CoprocessDriver } from './coprocess-driver.js';

/** Both variants, both families; argv must have `--noflush --verbose`. */
export const iptablesRestoreDriver: CoprocessDriver = {
  bufferMode: '-oL',
  probe: '',
  processArgv: (argv) => argv,
  frame(text, sequence) {
    const acknowledgement = `# seq ${sequence}\n`;
    return {
      input: `${text}${text === '' || text.endsWith('\n') ? '' : '\n'}${acknowledgement}`,
      isAcknowledged: (output) => output.endsWith(acknowledgement),
      body: (output) => output.slice(0, -acknowledgement.length),
      // Forms of 1.8.9: `Error occurred at line: 9`, `line 9 failed`, `line 9: RULE_APPEND failed`.
      normalise: (said, linesBefore) =>
        said.replace(
          /^(Error occurred at line: |.*\bline )(\d+)(?=$|:| failed)/gm,
          (whole, before: string, line: string) =>
            Number(line) > linesBefore ? `${before}${Number(line) - linesBefore}` : whole,
        ),
      dispose: () => undefined,
    };
  },
  // What is acknowledged was committed: an error ends the process before it reads on.
  isRefusal: () => false,
};
