// Desired state: what is programmed, what is dirty, what is closed.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { silentLogger, type Logger } from '../../../src/base/logger.js';
import type { Chain, Rule } from '../../../src/model/chain.js';
import { DesiredTable } from '../../../src/tables/desired-table.js';

const jump = (chain: string): Rule => ({ match: [], action: { kind: 'jump', chain } });
const goto = (chain: string): Rule => ({ match: [], action: { kind: 'goto', chain } });
const chain = (name: string, ...targets: string[]): Chain => ({ name, rules: targets.map(jump) });
const DROP: Rule = { match: [], action: { kind: 'drop' } };

function filter(log: Logger = silentLogger): DesiredTable {
  return new DesiredTable({ table: 'filter', log });
}

describe('DesiredTable references', () => {
  it('programs a chain only while something programmed refers to it', () => {
    const table = filter();
    table.setChain(chain('a', 'b'));
    table.setChain(chain('b'));
    expect(table.chain('a')).toBeUndefined();
    table.setInsertedRules('INPUT', [jump('a')]);
    expect(table.chain('a')).toEqual(chain('a', 'b'));
    expect(table.chain('b')).toEqual(chain('b'));
    table.setInsertedRules('INPUT', []);
    expect(table.chain('a')).toBeUndefined();
    expect(table.chain('b')).toBeUndefined();
  });

  it('keeps a target programmed and clean when its referrer is replaced by another that refers to it', () => {
    const table = filter();
    table.setInsertedRules('INPUT', [jump('a')]);
    table.setChain(chain('a', 'b'));
    table.setChain(chain('b'));
    table.takeDirty();
    table.setChain({ name: 'a', rules: [goto('b'), jump('b')] });
    expect([...table.takeDirty().chains]).toEqual(['a']);
    expect(table.isReferenced('b')).toBe(true);
  });

  it('programs a forced chain without referrer, and its targets', () => {
    const table = filter();
    table.setChain({ ...chain('a', 'b'), forced: true });
    table.setChain(chain('b'));
    expect([...table.referencedNames()].sort()).toEqual(['a', 'b']);
    table.setChain(chain('a', 'b'));
    expect([...table.referencedNames()]).toEqual([]);
  });

  it('counts every map element', () => {
    const table = filter();
    table.setVerdictMap({
      name: 'm',
      elements: new Map([
        ['cali1', 'a'],
        ['cali2', 'a'],
      ]),
    });
    table.setVerdictMap({ name: 'm', elements: new Map([['cali2', 'a']]) });
    expect(table.isReferenced('a')).toBe(true);
    table.deleteVerdictMap('m');
    expect(table.isReferenced('a')).toBe(false);
    expect([...table.takeDirty().maps]).toEqual([['m', null]]);
  });

  it('survives chains that refer to each other', () => {
    const table = filter();
    table.setChain(chain('a', 'b'));
    table.setChain(chain('b', 'a'));
    table.setInsertedRules('INPUT', [jump('a')]);
    expect([...table.referencedNames()].sort()).toEqual(['a', 'b']);
    table.setInsertedRules('INPUT', []);
    expect(table.isReferenced('a')).toBe(true);
  });

  it('agrees with a walk from the roots after any sequence of changes', () => {
    const names = ['a', 'b', 'c', 'd', 'e'];
    // Targets only to later names: no cycles, as in every real rule set.
    const targets = (index: number) => fc.subarray(names.slice(index + 1));
    const change = fc.oneof(
      fc.integer({ min: 0, max: 4 }).chain((index) =>
        fc.record({
          kind: fc.constant('set' as const),
          index: fc.constant(index),
          targets: targets(index),
          forced: fc.boolean(),
        }),
      ),
      fc.record({ kind: fc.constant('delete' as const), index: fc.integer({ min: 0, max: 4 }) }),
      fc.record({ kind: fc.constant('hook' as const), targets: fc.subarray(names) }),
      fc.record({ kind: fc.constant('map' as const), targets: fc.subarray(names) }),
    );
    fc.assert(
      fc.property(fc.array(change, { maxLength: 40 }), (changes) => {
        const table = filter();
        const chains = new Map<string, Chain>();
        let roots: string[] = [];
        let mapRoots: string[] = [];
        const seen = new Map<string, Chain | undefined>();
        for (const one of changes) {
          if (one.kind === 'set') {
            const name = names[one.index] ?? '';
            const value: Chain = { ...chain(name, ...one.targets), forced: one.forced };
            chains.set(name, value);
            table.setChain(value);
          } else if (one.kind === 'delete') {
            const name = names[one.index] ?? '';
            chains.delete(name);
            table.deleteChain(name);
          } else if (one.kind === 'hook') {
            roots = one.targets;
            table.setInsertedRules('FORWARD', roots.map(jump));
          } else {
            mapRoots = one.targets;
            table.setVerdictMap({ name: 'm', elements: new Map(mapRoots.map((name) => [`if-${name}`, name])) });
          }
          const wanted = new Set<string>();
          const visit = (name: string): void => {
            wanted.add(name);
            for (const rule of chains.get(name)?.rules ?? [])
              if (rule.action?.kind === 'jump') visit(rule.action.chain);
          };
          for (const name of [...roots, ...mapRoots]) visit(name);
          for (const value of chains.values()) if (value.forced === true) visit(value.name);
          expect(new Set(table.referencedNames())).toEqual(wanted);
          // Whatever has another programmed form now than before is dirty.
          const dirty = table.takeDirty().chains;
          for (const name of names) {
            const now = table.chain(name);
            if (JSON.stringify(seen.get(name)) !== JSON.stringify(now)) expect(dirty).toContain(name);
            seen.set(name, now);
          }
        }
      }),
    );
  });
});

describe('DesiredTable closed chains', () => {
  it('drops in a chain that is referred to but not defined, says so once, and opens when it is defined', () => {
    const warnings: string[] = [];
    const log: Logger = { ...silentLogger, warn: (message) => warnings.push(message) };
    const table = filter(log);
    table.setInsertedRules('INPUT', [jump('a')]);
    table.takeDirty();
    expect(table.chain('a')?.rules).toEqual([DROP]);
    table.putBack({ chains: ['a'] });
    table.takeDirty();
    expect(warnings).toHaveLength(1);
    expect(table.refusedChains()).toEqual([{ name: 'a', reason: 'referred to, but not defined' }]);
    table.setChain(chain('a'));
    expect(table.refusedChains()).toEqual([]);
    expect([...table.takeDirty().chains]).toEqual(['a']);
    table.deleteChain('a');
    expect(table.chain('a')?.rules).toEqual([DROP]);
  });

  it('does nothing in a closed nat chain, where the tool refuses DROP', () => {
    const table = new DesiredTable({ table: 'nat', log: silentLogger });
    table.setInsertedRules('PREROUTING', [jump('a')]);
    expect(table.chain('a')?.rules).toEqual([]);
  });

  it('closes a chain the kernel refused until it is set anew or retried', () => {
    const table = filter();
    table.setInsertedRules('INPUT', [jump('cali-pi-a')]);
    table.setChain(chain('cali-pi-a'));
    table.takeDirty();
    table.refuse('cali-pi-a', 'no such extension');
    expect(table.chain('cali-pi-a')).toMatchObject({ rules: [DROP], refused: 'no such extension' });
    expect([...table.takeDirty().chains]).toEqual(['cali-pi-a']);
    expect(table.retryRefused()).toEqual(['cali-pi-a']);
    expect(table.chain('cali-pi-a')).toEqual(chain('cali-pi-a'));
    table.refuse('cali-pi-a', 'again');
    table.setChain(chain('cali-pi-a', 'b'));
    expect(table.chain('cali-pi-a')).toEqual(chain('cali-pi-a', 'b'));
    expect(table.refuse('b', 'a chain that everything may depend on has no closed form')).toBe(false);
  });

  it('reports a chain that its renderer refused only while it is programmed', () => {
    const table = filter();
    table.setChain({ name: 'a', rules: [DROP], refused: 'unknown action' });
    expect(table.refusedChains()).toEqual([]);
    table.setInsertedRules('INPUT', [jump('a')]);
    expect(table.refusedChains()).toEqual([{ name: 'a', reason: 'unknown action' }]);
    table.setInsertedRules('INPUT', []);
    expect(table.refusedChains()).toEqual([]);
  });
});

describe('DesiredTable hooks', () => {
  it('has all kernel chains of the table dirty at the start', () => {
    const table = new DesiredTable({ table: 'nat', log: silentLogger });
    expect([...table.takeDirty().hooks]).toEqual(['PREROUTING', 'INPUT', 'OUTPUT', 'POSTROUTING']);
    expect(table.isDirty).toBe(false);
  });

  it('is not dirtied by setting no rules where there are none', () => {
    const table = filter();
    table.takeDirty();
    table.setInsertedRules('INPUT', []);
    table.setAppendedRules('FORWARD', []);
    expect(table.isDirty).toBe(false);
    table.setAppendedRules('FORWARD', [DROP]);
    expect([...table.takeDirty().hooks]).toEqual(['FORWARD']);
    expect(table.appendedRules('FORWARD')).toEqual([DROP]);
  });
});
