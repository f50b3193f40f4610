// The kernel's IP sets with the ipset program in front of them, as of ipset 7.17: same output, same error texts, same
// refusals. `test/kernel/ipset-fake.test.ts` holds it against the real one.
import { canonicalMember } from '../../src/ipsets/members.js';
import type { Command } from '../../src/kernel/command.js';
import type { Family } from '../../src/model/family.js';
import type { IpSetType } from '../../src/model/ip-set.js';
import type { FakeAnswer, FakeProgram } from './command-runner.js';

/** A set in the fake kernel. */
export interface FakeIpSet {
  type: string;
  family: Family | null;
  maxElem: number | null;
  options: string;
  members: Set<string>;
  /** Rules that use it. */
  references: number;
}

const KNOWN_TYPES = new Set<string>(['hash:ip', 'hash:net', 'hash:ip,port']);
const DEFAULT_MAX_ELEM = 65_536;

class Refused extends Error {}

interface NumberedLine {
  readonly number: number;
  readonly words: readonly string[];
}

const NO_SUCH_SET = 'The set with the given name does not exist';

/** Sets of one fake kernel. Change `sets` at will to play another program. */
export class FakeIpSetKernel {
  readonly sets = new Map<string, FakeIpSet>();
  /** Lines of `restore` that were carried out, in order. */
  readonly lines: string[] = [];
  /** Names that were listed one by one, in order. */
  readonly listed: string[] = [];

  /** The program, to be installed as `ipset` in a fake runner. */
  readonly program: FakeProgram = (command) => this.#run(command);

  /** Puts a set there by hand. */
  put(
    name: string,
    type: string,
    family: Family | null,
    members: Iterable<string>,
    rest: Partial<FakeIpSet> = {},
  ): void {
    const base = { type, family, maxElem: DEFAULT_MAX_ELEM, options: '', members: new Set(members), references: 0 };
    this.sets.set(name, { ...base, ...rest });
  }

  /** The set; fails the test when there is none. */
  get(name: string): FakeIpSet {
    const set = this.sets.get(name);
    if (set === undefined) throw new Error(`No set ${name} in the fake kernel`);
    return set;
  }

  /** The whole state as sorted text, in the form of `ipset save`. */
  print(): string {
    const lines: string[] = [];
    for (const [name, set] of [...this.sets].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const family = set.family === null ? '' : ` family inet${set.family === 6 ? '6' : ''}`;
      lines.push(`create ${name} ${set.type}${family} maxelem ${set.maxElem ?? '-'}${set.options}`);
      for (const member of [...set.members].sort()) lines.push(`add ${name} ${member}`);
    }
    return lines.map((line) => `${line}\n`).join('');
  }

  #run(command: Command): FakeAnswer {
    const exist = command.argv.includes('-exist');
    const [verb, argument] = command.argv.slice(1).filter((word) => word !== '-exist');
    if (verb === 'list' && argument === '-name') {
      return { stdout: [...this.sets.keys()].map((name) => `${name}\n`).join('') };
    }
    if (verb === 'list' && argument !== undefined) return this.#list(argument);
    if (verb === 'restore') return this.#restore(command.stdin ?? '', exist);
    return { exitCode: 1, stderr: `ipset v7.17: the fake does not know ${command.argv.join(' ')}\n` };
  }

  #list(name: string): FakeAnswer {
    const set = this.sets.get(name);
    if (set === undefined) return { exitCode: 1, stderr: `ipset v7.17: ${NO_SUCH_SET}\n` };
    this.listed.push(name);
    const family = set.family === null ? '' : `family inet${set.family === 6 ? '6' : ''} `;
    const maxElem = set.maxElem === null ? '' : `hashsize 1024 maxelem ${set.maxElem}`;
    const head = [
      `Name: ${name}`,
      `Type: ${set.type}`,
      'Revision: 7',
      `Header: ${family}${maxElem}${set.options} bucketsize 12 initval 0x0975d235`,
      'Size in memory: 456',
      `References: ${set.references}`,
      `Number of entries: ${set.members.size}`,
      'Members:',
    ];
    return { stdout: [...head, ...set.members].map((line) => `${line}\n`).join('') };
  }

  /**
   * As ipset does it: additions to one set (or deletions) are collected until another command has been parsed. A line
   * that does not parse ends everything, and what was collected is lost; a line that the kernel refuses ends
   * everything, and what was before it stays.
   */
  #restore(script: string, exist: boolean): FakeAnswer {
    let collected: NumberedLine[] = [];
    const failed = (number: number, error: unknown): FakeAnswer => {
      if (!(error instanceof Refused)) throw error;
      return { exitCode: 1, stderr: `ipset v7.17: Error in line ${number}: ${error.message}\n` };
    };
    const send = (lines: readonly NumberedLine[]): FakeAnswer | null => {
      for (const { number, words } of lines) {
        try {
          this.#execute(words, exist);
          this.lines.push(words.join(' '));
        } catch (error) {
          return failed(number, error);
        }
      }
      return null;
    };
    for (const [index, text] of script.split('\n').entries()) {
      if (text === '') continue;
      const line = { number: index + 1, words: text.split(' ') };
      const [verb, name] = line.words;
      try {
        this.#parse(line.words);
      } catch (error) {
        return failed(line.number, error);
      }
      const [firstVerb, firstName] = collected[0]?.words ?? [];
      const mayCollect = verb === 'add' || verb === 'del';
      if (verb !== firstVerb || name !== firstName || !mayCollect) {
        const refusal = send(collected);
        if (refusal !== null) return refusal;
        collected = [];
      }
      if (mayCollect) collected.push(line);
      else {
        const refusal = send([line]);
        if (refusal !== null) return refusal;
      }
    }
    return send(collected) ?? {};
  }

  /** What ipset itself finds wrong with a line, before it sends anything. */
  #parse(words: readonly string[]): void {
    const [verb = '', name = '', argument = '', familyWord, , maxElemWord] = words;
    if (verb === 'create') {
      if (!KNOWN_TYPES.has(argument)) throw new Refused(`Syntax error: unknown settype ${argument}`);
      if (familyWord !== 'family' || maxElemWord !== 'maxelem') throw new Refused('Syntax error: bad create');
    } else if (verb === 'add' || verb === 'del') {
      this.#member(this.#get(name), argument);
    } else if (!['destroy', 'flush', 'swap'].includes(verb)) {
      throw new Refused(`Unknown command ${verb}`);
    }
  }

  #execute(words: readonly string[], exist: boolean): void {
    const [verb = '', name = '', argument = ''] = words;
    switch (verb) {
      case 'create':
        this.#create(name, words, exist);
        return;
      case 'destroy':
        if (exist && !this.sets.has(name)) return;
        if (this.#get(name).references > 0) {
          throw new Refused('Set cannot be destroyed: it is in use by a kernel component');
        }
        this.sets.delete(name);
        return;
      case 'flush':
        this.#get(name).members.clear();
        return;
      case 'swap':
        this.#swap(name, argument);
        return;
      case 'add':
        this.#add(name, argument, exist);
        return;
      case 'del':
        if (!this.#get(name).members.delete(this.#member(this.#get(name), argument)) && !exist) {
          throw new Refused('Element cannot be deleted from the set: it is not added');
        }
        return;
      default:
        throw new Error(`The fake does not carry out ${verb}`);
    }
  }

  #get(name: string): FakeIpSet {
    const set = this.sets.get(name);
    if (set === undefined) throw new Refused(NO_SUCH_SET);
    return set;
  }

  #create(name: string, words: readonly string[], exist: boolean): void {
    const [, , type = '', , familyName, , maxElem] = words;
    const family = familyName === 'inet6' ? 6 : 4;
    const old = this.sets.get(name);
    if (old !== undefined) {
      const same = old.type === type && old.family === family && old.maxElem === Number(maxElem);
      if (same && exist) return;
      throw new Refused('Set cannot be created: set with the same name already exists');
    }
    this.put(name, type, family, [], { maxElem: Number(maxElem) });
  }

  #swap(fromName: string, toName: string): void {
    const from = this.#get(fromName);
    const to = this.#get(toName);
    if (from.type !== to.type || from.family !== to.family) {
      throw new Refused('The sets cannot be swapped: their type does not match');
    }
    // References belong to the name that rules use, not to the content.
    [from.references, to.references] = [to.references, from.references];
    this.sets.set(fromName, to);
    this.sets.set(toName, from);
  }

  #add(name: string, text: string, exist: boolean): void {
    const set = this.#get(name);
    const member = this.#member(set, text);
    if (set.members.has(member)) {
      if (!exist) throw new Refused("Element cannot be added to the set: it's already added");
      return;
    }
    if (set.maxElem !== null && set.members.size >= set.maxElem) {
      throw new Refused('Hash is full, cannot add more elements');
    }
    set.members.add(member);
  }

  #member(set: FakeIpSet, text: string): string {
    const member = canonicalMember(set.type as IpSetType, set.family ?? 4, text);
    if (member === null) throw new Refused(`Syntax error: cannot parse ${text}`);
    return member;
  }
}
