// A plane over a fake kernel, for the tests of this folder.
import { commandIpSetIo } from '../../../src/ipsets/command-io.js';
import { IpSetPlane } from '../../../src/ipsets/ip-set-plane.js';
import type { IpSets } from '../../../src/ipsets/ip-sets.js';
import type { IpSetIo } from '../../../src/ipsets/kernel-set.js';
import type { Family } from '../../../src/model/family.js';
import type { IpSetSpec, IpSetType } from '../../../src/model/ip-set.js';
import type { Operation } from '../../../src/model/operation.js';
import type { ApplyResult } from '../../../src/model/reconciler.js';
import { silentLogger } from '../../../src/base/logger.js';
import { FakeClock } from '../../fakes/clock.js';
import { FakeCommandRunner } from '../../fakes/command-runner.js';
import { FakeIpSetKernel } from '../../fakes/ipset-kernel.js';

export const MAX_SIZE = 1_048_576;

/** Spec of a set of the default size. */
export function spec(id: string, type: IpSetType = 'hash:net', maxSize = MAX_SIZE): IpSetSpec {
  return { id, type, maxSize };
}

/** With digests as netlink has them. */
function withDigests(io: IpSetIo, kernel: FakeIpSetKernel): IpSetIo {
  const digestOf = (name: string): string | null => {
    const set = kernel.sets.get(name);
    return set === undefined ? null : JSON.stringify([set, ...set.members]);
  };
  return {
    ...io,
    list: async (name) => {
      const listed = await io.list(name);
      return listed === null ? null : { ...listed, digest: digestOf(name) };
    },
    digest: (name) => Promise.resolve(digestOf(name)),
  };
}

/** A fake host with one plane on it; `restart` makes a new plane over the same kernel. */
export class PlaneFixture {
  readonly kernel = new FakeIpSetKernel();
  readonly runner = new FakeCommandRunner({ ipset: this.kernel.program });
  readonly clock = new FakeClock();
  readonly operations: Operation[] = [];
  readonly family: Family;
  plane: IpSetPlane;
  readonly #hasDigests: boolean;

  constructor(family: Family = 4, options: { readonly digests: boolean } = { digests: false }) {
    this.family = family;
    this.#hasDigests = options.digests;
    this.plane = this.#create();
  }

  restart(): void {
    this.operations.length = 0;
    this.kernel.lines.length = 0;
    this.kernel.listed.length = 0;
    this.plane = this.#create();
  }

  /** One apply with its deletions; time passes as the plane waits. */
  async apply(): Promise<{ readonly apply: ApplyResult; readonly deletions: ApplyResult }> {
    const apply = await this.settle(this.plane.apply());
    const deletions = await this.settle(this.plane.applyDeletions());
    return { apply, deletions };
  }

  /** Applies until no deletion waits (at most `limit` times). */
  async applyAll(limit = 50): Promise<void> {
    for (let count = 0; count < limit; count++) {
      const { apply, deletions } = await this.apply();
      if (apply.rescheduleAfterMs === undefined && deletions.rescheduleAfterMs === undefined) return;
      await this.clock.advance(Math.max(apply.rescheduleAfterMs ?? 0, deletions.rescheduleAfterMs ?? 0));
    }
    throw new Error(`The plane still wants to run after ${limit} applies`);
  }

  /** Lets time pass until the promise is settled. */
  async settle<T>(work: Promise<T>): Promise<T> {
    let done = false;
    const ended = work.finally(() => {
      done = true;
    });
    ended.catch(() => undefined);
    for (let round = 0; !done && round < 10_000; round++) await this.clock.advance(this.clock.nextTimerInMs() ?? 0);
    return ended;
  }

  verbs(): string[] {
    return this.operations.map((operation) => `${operation.verb} ${operation.object}`);
  }

  members(id: string): string[] {
    return [...this.kernel.get(`cali${this.family}0${id}`).members].sort();
  }

  #create(): IpSetPlane {
    const io = commandIpSetIo(this.runner);
    return new IpSetPlane({
      family: this.family,
      maxDeletionsPerApply: 1,
      io: this.#hasDigests ? withDigests(io, this.kernel) : io,
      clock: this.clock,
      log: silentLogger,
      onOperation: (operation) => this.operations.push(operation),
    });
  }
}

/** Wants `sets` (id → members) in the plane. */
export function want(plane: IpSets, sets: Readonly<Record<string, readonly string[]>>): void {
  for (const [id, members] of Object.entries(sets)) plane.setSet(spec(id), members);
}
