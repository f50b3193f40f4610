// The restore scripts that the steps of a recording make, without a kernel: the renderer's chains go through the real
// tables, whose reconcilers find an empty kernel and have every write taken.
import { silentLogger } from '../../../src/base/logger.js';
import { type Family, FAMILIES, type TableName } from '../../../src/model/family.js';
import { MODERN_FEATURES } from '../../../src/model/features.js';
import { IptablesTable } from '../../../src/tables/iptables/iptables-table.js';
import { FakeClock } from '../../fakes/clock.js';
import { loadRecording, splitFrames } from '../../fixtures/recording.js';
import { RuleState, type TableContent, TABLES } from '../../golden/rule-state.js';

/** A script and the family whose tool runs it. */
export type FamilyScript = readonly [family: Family, script: string];

/** Hands a table what it should hold now; what it held before and should not any more goes. */
class Wanted {
  readonly #table: IptablesTable;
  #names = new Set<string>();

  constructor(table: IptablesTable) {
    this.#table = table;
  }

  async become(content: TableContent): Promise<void> {
    for (const chain of content.chains.values()) this.#table.setChain(chain);
    for (const name of this.#names) if (!content.chains.has(name)) this.#table.deleteChain(name);
    this.#names = new Set(content.chains.keys());
    for (const [hook, rules] of content.inserted) this.#table.setInsertedRules(hook, rules);
    for (const [hook, rules] of content.appended) this.#table.setAppendedRules(hook, rules);
    await this.#table.apply();
  }
}

/** All scripts of a recording in the mode of an iptables variant, in order. */
export async function restoreScripts(name: string, backend: 'nft' | 'legacy' = 'nft'): Promise<FamilyScript[]> {
  const recording = loadRecording(name);
  const state = new RuleState(recording.hostScript);
  const scripts: FamilyScript[] = [];
  const tables = new Map<string, Wanted>();
  for (const family of FAMILIES)
    for (const table of TABLES) tables.set(`${table}/${family}`, wanted(scripts, backend, family, table));
  const frames = splitFrames(recording.stream);
  let sent = 0;
  for (const step of recording.steps.steps) {
    for (const frame of frames.slice(sent, step.frames)) state.apply(frame);
    sent = step.frames;
    for (const family of FAMILIES) {
      const renderer = state.renderer(`iptables-${backend}`, family);
      for (const table of TABLES) {
        await tables.get(`${table}/${family}`)?.become(state.table(renderer, table));
      }
    }
  }
  return scripts;
}

function wanted(scripts: FamilyScript[], backend: 'nft' | 'legacy', family: Family, table: TableName): Wanted {
  return new Wanted(
    new IptablesTable({
      family,
      table,
      backend,
      insertMode: 'insert',
      refreshIntervalMs: 0,
      postWriteCheckIntervalMs: 0,
      features: MODERN_FEATURES,
      io: {
        epoch: () => 0,
        isAsKnown: () => Promise.resolve(true),
        save: () => Promise.resolve(''),
        readTags: () => Promise.resolve(null),
        restore: (of, script) => {
          scripts.push([of, script]);
          return Promise.resolve();
        },
      },
      clock: new FakeClock(),
      log: silentLogger,
      onOperation: () => undefined,
    }),
  );
}

/** Input of `ipset restore` that makes the sets that scripts name, empty. */
export function setsOf(scripts: readonly FamilyScript[]): string {
  const lines = new Set<string>();
  for (const [family, script] of scripts) {
    for (const [, name, second] of script.matchAll(/--match-set (\S+) (?:src|dst)(,\S+)?/g)) {
      const type = second === undefined ? 'hash:net' : 'hash:ip,port';
      lines.add(`create ${name} ${type} family ${family === 4 ? 'inet' : 'inet6'}\n`);
    }
  }
  return [...lines].join('');
}
