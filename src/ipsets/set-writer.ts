// Writes sets: many small changes share one restore, a big set is cut into several, a set that must be rebuilt is
// filled beside the old one and swapped in.
import { ToolError } from '../base/errors.js';
import type { TimeSlices } from '../base/time-slices.js';
import type { OperationObserver } from '../model/operation.js';
import type { IpSetIo } from './kernel-set.js';
import { isToolBroken } from './tool-failure.js';
import type { MemberLine, TrackedSet } from './tracked-set.js';

/** Some 300 kB of text and 40 ms of the kernel's time: what one restore may hold. */
const MAX_LINES_PER_SCRIPT = 10_000;

/** What the writer works with. */
export interface SetWriterTools {
  readonly io: IpSetIo;
  readonly onOperation: OperationObserver;
  /** A name for a temporary set that does not exist. */
  claimTempName(): string;
  /** The temporary set is no longer needed; it may or may not exist. */
  releaseTempName(name: string): void;
}

/** Sets that the kernel refused, with what it said. Their state in the kernel is then unknown. */
export type WriteFailures = Map<TrackedSet, ToolError>;

/** The lines of one set in a script. */
interface Part {
  readonly set: TrackedSet;
  readonly creates: boolean;
  readonly lines: MemberLine[];
  lastLine: number;
}

class Batch {
  readonly parts: Part[] = [];
  readonly #lines: string[] = [];

  get length(): number {
    return this.#lines.length;
  }

  get script(): string {
    return `${this.#lines.join('\n')}\n`;
  }

  begin(set: TrackedSet, creates: boolean): void {
    set.unfinished ||= creates;
    if (creates) this.#lines.push(...set.createLines(set.name));
    this.parts.push({ set, creates, lines: [], lastLine: this.#lines.length });
  }

  push(line: MemberLine): void {
    const part = this.parts[this.parts.length - 1];
    if (part === undefined) return;
    this.#lines.push(`${line.verb} ${part.set.name} ${line.member}`);
    part.lines.push(line);
    part.lastLine = this.#lines.length;
  }
}

/** Carries out what {@link TrackedSet}s ask for. */
export class SetWriter {
  readonly #tools: SetWriterTools;

  constructor(tools: SetWriterTools) {
    this.#tools = tools;
  }

  /**
   * Brings sets that are absent or matching to what is wanted. One refused set does not stop the others. Rejects with
   * the tool's failure when it does not work at all; the sets under way are then in an unknown state.
   */
  async writeChanges(sets: Iterable<TrackedSet>, slices: TimeSlices): Promise<WriteFailures> {
    const run = new ChangeRun(this.#tools, slices);
    await run.write([...sets]);
    return run.failures;
  }

  /**
   * Fills a temporary set with the whole membership and swaps it in: packets see the old set or the new one. A set of
   * another type cannot be swapped; it is destroyed first if nothing uses it, and left as it is otherwise.
   * Returns what the kernel said if it refused. Rejects as {@link writeChanges}.
   */
  async rebuild(set: TrackedSet, slices: TimeSlices): Promise<ToolError | null> {
    if (set.kernel === 'wrong-type' && (await this.#destroyUnused(set))) {
      await set.adopt(null, slices);
      return (await this.writeChanges([set], slices)).get(set) ?? null;
    }
    const temp = this.#tools.claimTempName();
    try {
      await this.#fill(set, temp, slices);
      await this.#tools.io.restore(`swap ${temp} ${set.name}\n`);
    } catch (error) {
      set.kernel = 'unknown';
      if (isToolBroken(error) || !(error instanceof ToolError)) throw error;
      return error;
    } finally {
      this.#tools.releaseTempName(temp);
    }
    set.kernel = 'matching';
    await set.setWritten(slices);
    const count = set.members.wantedCount;
    this.#tools.onOperation({ room: 'ipsets', verb: 'replace-set', object: set.name, count });
    return null;
  }

  /**
   * Takes back a set that could not be filled, so that no rule can name it half-full: such a rule is then refused with
   * it. One that is in use already stays.
   */
  async withdraw(set: TrackedSet, slices: TimeSlices): Promise<void> {
    if (!(await this.#destroyUnused(set))) return;
    set.unfinished = false;
    await set.adopt(null, slices);
  }

  async #destroyUnused(set: TrackedSet): Promise<boolean> {
    try {
      await this.#tools.io.restore(`destroy ${set.name}\n`);
    } catch (error) {
      if (isToolBroken(error)) throw error;
      // In use. A swap that follows fails too, unless the kernel finds the types alike; its text is the one to show.
      return false;
    }
    this.#tools.onOperation({ room: 'ipsets', verb: 'destroy-set', object: set.name });
    return true;
  }

  async #fill(set: TrackedSet, temp: string, slices: TimeSlices): Promise<void> {
    let lines = set.createLines(temp);
    for (const { verb, member } of set.allLines()) {
      lines.push(`${verb} ${temp} ${member}`);
      if (lines.length < MAX_LINES_PER_SCRIPT) continue;
      await this.#tools.io.restore(`${lines.join('\n')}\n`);
      await slices.breathe();
      lines = [];
    }
    if (lines.length > 0) await this.#tools.io.restore(`${lines.join('\n')}\n`);
  }
}

/** One run over changed sets. */
class ChangeRun {
  readonly failures: WriteFailures = new Map();
  readonly #tools: SetWriterTools;
  readonly #slices: TimeSlices;
  #batch = new Batch();
  #queue: TrackedSet[] = [];
  /** ipset did not say where it failed: from now on each set has a script of its own. */
  #isolate = false;

  constructor(tools: SetWriterTools, slices: TimeSlices) {
    this.#tools = tools;
    this.#slices = slices;
  }

  async write(sets: TrackedSet[]): Promise<void> {
    this.#queue = sets;
    do {
      const round = this.#queue;
      this.#queue = [];
      for (const set of round) await this.#writeSet(set);
      await this.#flush();
      // A refused line puts the sets behind it back into the queue.
    } while (this.#queue.length > 0);
  }

  async #writeSet(set: TrackedSet): Promise<void> {
    this.#batch.begin(set, set.kernel === 'absent');
    for (const line of set.memberLines()) {
      this.#batch.push(line);
      if (this.#batch.length < MAX_LINES_PER_SCRIPT) continue;
      const undone = await this.#flush();
      if (undone.has(set)) return;
      this.#batch.begin(set, false);
    }
    if (this.#isolate) await this.#flush();
  }

  /** Carries the batch out. Returns the sets that are not as wanted after it, failed or put back into the queue. */
  async #flush(): Promise<ReadonlySet<TrackedSet>> {
    const batch = this.#batch;
    this.#batch = new Batch();
    const undone = new Set<TrackedSet>();
    if (batch.length === 0) return undone;
    try {
      await this.#tools.io.restore(batch.script);
      for (const part of batch.parts) this.#confirm(part);
      await this.#slices.breathe();
    } catch (error) {
      if (isToolBroken(error) || !(error instanceof ToolError)) {
        for (const { set } of batch.parts) set.kernel = 'unknown';
        throw error;
      }
      this.#sortOut(batch, error, undone);
    }
    return undone;
  }

  #sortOut(batch: Batch, error: ToolError, undone: Set<TrackedSet>): void {
    const only = batch.parts.length === 1 ? batch.parts[0] : undefined;
    const { inputLine } = error.failure;
    const refused = only ?? batch.parts.find((part) => inputLine !== undefined && inputLine <= part.lastLine);
    if (refused === undefined) this.#isolate = true;
    for (const { set } of batch.parts) {
      undone.add(set);
      if (set === refused?.set) {
        set.kernel = 'unknown';
        this.failures.set(set, error);
      } else {
        // Also those before the line: what ipset has read and not yet sent is lost (7.17). Twice is as good as once.
        this.#queue.push(set);
      }
    }
  }

  #confirm({ set, creates, lines }: Part): void {
    const counts = { add: 0, del: 0 };
    for (const { verb, member } of lines) {
      counts[verb]++;
      if (verb === 'add') set.members.setPresent(member);
      else set.members.setAbsent(member);
    }
    const { onOperation } = this.#tools;
    if (creates) {
      set.kernel = 'matching';
      onOperation({ room: 'ipsets', verb: 'create-set', object: set.name });
    }
    if (counts.add > 0) onOperation({ room: 'ipsets', verb: 'add-members', object: set.name, count: counts.add });
    if (counts.del > 0) onOperation({ room: 'ipsets', verb: 'remove-members', object: set.name, count: counts.del });
  }
}
