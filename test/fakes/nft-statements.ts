// Makes of a script's text what back ends hand over: lines, and the rules of a chain that follow each other as one.
import type { Statement } from '../../src/tables/nftables/io.js';

const RULE = /^add rule (\S+ \S+) (\S+) (.*) comment "([^"]*)"$/u;

/** The statements of a script, one a line; empty lines are left out. */
export function statementsOf(script: string): Statement[] {
  const statements: Statement[] = [];
  for (const line of script.split('\n')) {
    if (line === '') continue;
    const [, table, chain = '', text = '', comment = ''] = RULE.exec(line) ?? [];
    if (table === undefined) {
      statements.push(line);
      continue;
    }
    const last = statements.at(-1);
    if (typeof last === 'object' && last.table === table && last.chain === chain) {
      const { texts, comments } = last;
      statements[statements.length - 1] = { ...last, texts: [...texts, text], comments: [...comments, comment] };
    } else statements.push({ table, chain, texts: [text], comments: [comment] });
  }
  return statements;
}
