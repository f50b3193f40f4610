// The chains of a workload endpoint are the same in both families: the first family's manager renders them, the second
// one's gets the very same objects, so that the tables can tell that they are the same, too.
import { isPlainEqual } from '../base/plain-equal.js';
import type { Chain } from '../model/chain.js';
import type { WorkloadEndpoint } from '../protocol/gen/felix/felixbackend_pb.js';
import type { RuleRenderer, WorkloadChainsInput } from '../rules/renderer.js';

/** Rendered chains that wait for the other family. Not for IPVS mode, where each family has marks of its own. */
export class SharedWorkloadChains {
  readonly #waiting = new WeakMap<
    WorkloadEndpoint,
    { readonly input: WorkloadChainsInput; readonly chains: readonly Chain[]; readonly by: RuleRenderer }
  >();

  /** What the other family made of the same endpoint and input; else what `renderer` makes, which then waits for it. */
  render(renderer: RuleRenderer, endpoint: WorkloadEndpoint, input: WorkloadChainsInput): readonly Chain[] {
    const made = this.#waiting.get(endpoint);
    if (made !== undefined && made.by !== renderer && isPlainEqual(made.input, input)) {
      this.#waiting.delete(endpoint);
      return made.chains;
    }
    const chains = renderer.workloadChains(input);
    this.#waiting.set(endpoint, { input, chains, by: renderer });
    return chains;
  }
}
