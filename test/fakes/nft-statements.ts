// Makes of a script's text what back ends hand over: lines, elements, and the rules of a chain that follow each other as
// one.
import type { Statement } from '../../src/tables/nftables/io.js';

const ELEMENTS = /^(add|delete) element (\S+ \S+) (\S+) \{ (.*) \}$/u;
const RULE = /^add rule (\S+ \S+) (\S+) (.*) comment "([^"]*)"$/u;

/** The statements of a script, one a line; empty lines are left out. */
export function statementsOf(script: string): Statement[] {
  const statements: Statement[] = [];
  for (const line of script.split('\n')) {
    if (line === '') continue;
    const [, operation, ofTable = '', set = '', elements = ''] = ELEMENTS.exec(line) ?? [];
    if (operation === 'add' || operation === 'delete') {
      statements.push({ operation, table: ofTable, set, elements: elements.split(', ') });
      continue;
    }
    const [, table, chain = '', text = '', comment = ''] = RULE.exec(line) ?? [];
    if (table === undefined) {
      statements.push(line);
      continue;
    }
    const last = statements.at(-1);
    if (typeof last === 'object' && 'chain' in last && last.table === table && last.chain === chain) {
      const { texts, comments } = last;
      statements[statements.length - 1] = { ...last, texts: [...texts, text], comments: [...comments, comment] };
    } else statements.push({ table, chain, texts: [text], comments: [comment] });
  }
  return statements;
}
