// Finds the chains of an endpoint by interface name: a two-level tree of GOTOs, or an nft verdict map
// (dataplane.md 3.8).
import type { Chain, Rule, VerdictMap } from '../model/chain.js';
import type { Match } from '../model/match.js';
import { CHAIN, ENDPOINT_CHAIN_PREFIX, endpointChainName } from '../model/names.js';
import { denyAction, goTo, type RenderContext, RETURN, rule, workloadInterfaces } from './context.js';
import { ANY_INTERFACE, type DispatchChains } from './renderer.js';

/** Which interface of a packet decides. */
type InterfaceKind = 'in-interface' | 'out-interface';

/** One dispatch chain over a set of interfaces. */
export interface TreeDispatch {
  readonly root: string;
  /** Between root name and character in the names of child chains. */
  readonly infix?: string;
  readonly kind: InterfaceKind;
  /** Prefix of the endpoints' chains. */
  readonly prefix: string;
  /** Rules for all other interfaces; repeated in child chains, which GOTO never leaves. */
  readonly endRules: readonly Rule[];
}

/** The filter dispatch of workloads; unknown interfaces are denied, also when there are no workloads at all. */
export function renderWorkloadDispatch(ctx: RenderContext, interfaceNames: Iterable<string>): DispatchChains {
  const [from, to] = workloadTrees(ctx);
  const names = sortedNames(interfaceNames);
  if (ctx.backend === 'iptables') return { chains: [...tree(ctx, names, from), ...tree(ctx, names, to)], maps: [] };
  return {
    chains: [mapLookup(from), mapLookup(to)],
    maps: [verdictMap(ctx, names, from), verdictMap(ctx, names, to)],
  };
}

/** The chains that `renderWorkloadDispatch` makes: from workloads, to workloads. */
export function workloadTrees(ctx: RenderContext): readonly [TreeDispatch, TreeDispatch] {
  const endRules = [rule([], denyAction(ctx, 'filter', 'ingress'), 'Unknown interface')];
  const { fromWorkload, toWorkload } = ENDPOINT_CHAIN_PREFIX;
  return [
    { root: CHAIN.fromWorkloadDispatch, kind: 'in-interface', prefix: fromWorkload, endRules },
    { root: CHAIN.toWorkloadDispatch, kind: 'out-interface', prefix: toWorkload, endRules },
  ];
}

/** Four chains over host endpoints; with a `*` endpoint everything else goes to its chains. */
export function renderHostFilterDispatch(ctx: RenderContext, interfaceNames: Iterable<string>): DispatchChains {
  const { names, hasDefault } = splitDefault(interfaceNames);
  const dispatch = (root: string, kind: InterfaceKind, prefix: string): Chain[] =>
    tree(ctx, names, { root, kind, prefix, endRules: hasDefault ? [defaultRule(ctx, prefix)] : [] });
  const { fromHost, toHost, fromHostForward, toHostForward } = ENDPOINT_CHAIN_PREFIX;
  const chains = [
    ...dispatch(CHAIN.fromHostEndpoint, 'in-interface', fromHost),
    ...dispatch(CHAIN.toHostEndpoint, 'out-interface', toHost),
    ...dispatch(CHAIN.fromHostEndpointForward, 'in-interface', fromHostForward),
    ...dispatch(CHAIN.toHostEndpointForward, 'out-interface', toHostForward),
  ];
  return { chains, maps: [] };
}

/** Mangle: out over all host endpoints, in over those with pre-DNAT policy. */
export function renderHostMangleDispatch(
  ctx: RenderContext,
  all: Iterable<string>,
  withPreDnat: Iterable<string>,
): DispatchChains {
  const to = splitDefault(all);
  const from = splitDefault(withPreDnat);
  const { fromHost, toHost } = ENDPOINT_CHAIN_PREFIX;
  const toEndRules = to.hasDefault
    ? [
        ...workloadInterfaces(ctx, 'out-interface').map((match) =>
          rule([match], RETURN, 'Skip egress WHEP policy for traffic to local workload'),
        ),
        defaultRule(ctx, toHost),
      ]
    : [];
  const fromEndRules = from.hasDefault ? [defaultRule(ctx, fromHost)] : [];
  const chains = [
    ...tree(ctx, from.names, {
      root: CHAIN.fromHostEndpoint,
      kind: 'in-interface',
      prefix: fromHost,
      endRules: fromEndRules,
    }),
    ...tree(ctx, to.names, { root: CHAIN.toHostEndpoint, kind: 'out-interface', prefix: toHost, endRules: toEndRules }),
  ];
  return { chains, maps: [] };
}

/** Raw: host endpoints with untracked policy. A `*` endpoint can't have any, so it is left out. */
export function renderHostRawDispatch(ctx: RenderContext, interfaceNames: Iterable<string>): DispatchChains {
  const { names } = splitDefault(interfaceNames);
  const { fromHost, toHost } = ENDPOINT_CHAIN_PREFIX;
  const chains = [
    ...tree(ctx, names, { root: CHAIN.fromHostEndpoint, kind: 'in-interface', prefix: fromHost, endRules: [] }),
    ...tree(ctx, names, { root: CHAIN.toHostEndpoint, kind: 'out-interface', prefix: toHost, endRules: [] }),
  ];
  return { chains, maps: [] };
}

/** IPVS: interface → mark on the way in, mark → policy on the way out. Frees the marks of all other interfaces. */
export function renderEndpointMarkDispatch(
  ctx: RenderContext,
  workloads: Iterable<string>,
  hosts: Iterable<string>,
): DispatchChains {
  if (!ctx.environment.ipvs) return { chains: [], maps: [] };
  const workloadNames = sortedNames(workloads);
  const hostNames = splitDefault(hosts).names;
  ctx.endpointMarks.retain(new Set([...workloadNames, ...hostNames, ANY_INTERFACE]));
  const setMark = { kind: 'in-interface', prefix: ENDPOINT_CHAIN_PREFIX.setMark, endRules: [] } as const;
  const wep = branches(ctx, workloadNames, { ...setMark, root: CHAIN.setEndpointMark, infix: '-wep' });
  const hep = branches(ctx, hostNames, { ...setMark, root: CHAIN.setEndpointMark, infix: '-hep' });
  const deny = denyAction(ctx, 'filter', 'ingress');
  const mask = ctx.endpointMarks.mask;
  const rootRules = [
    ...wep.rootRules,
    ...hep.rootRules,
    ...workloadInterfaces(ctx, 'in-interface').map((match) => rule([match], deny, 'Unknown endpoint')),
    rule([], { kind: 'set-masked-mark', value: ctx.marks.nonCaliEndpoint, mask }, 'Non-Cali endpoint mark'),
  ];
  const fromMarkRules = [
    ...fromMark(ctx, workloadNames, ENDPOINT_CHAIN_PREFIX.fromWorkload),
    ...fromMark(ctx, hostNames, ENDPOINT_CHAIN_PREFIX.fromHostForward),
    rule([], deny, 'Unknown interface'),
  ];
  const chains = [
    ...wep.children,
    ...hep.children,
    { name: CHAIN.setEndpointMark, rules: rootRules },
    { name: CHAIN.fromEndpointMark, rules: fromMarkRules },
  ];
  return { chains, maps: [] };
}

function fromMark(ctx: RenderContext, names: readonly string[], prefix: string): Rule[] {
  return names.flatMap((name) => {
    const value = ctx.endpointMarks.markOf(name);
    if (value === null) return [];
    const match: Match = { kind: 'mark-value', value, mask: ctx.endpointMarks.mask };
    return [rule([match], goTo(endpointChainName(prefix, name, ctx.backend)))];
  });
}

function defaultRule(ctx: RenderContext, prefix: string): Rule {
  return rule([], goTo(endpointChainName(prefix, ANY_INTERFACE, ctx.backend)));
}

function mapLookup(dispatch: TreeDispatch): Chain {
  const kind = dispatch.kind === 'in-interface' ? 'in-interface-map' : 'out-interface-map';
  return { name: dispatch.root, rules: [{ match: [{ kind, map: dispatch.root }] }, ...dispatch.endRules] };
}

function verdictMap(ctx: RenderContext, names: readonly string[], dispatch: TreeDispatch): VerdictMap {
  const elements = new Map(names.map((name) => [name, endpointChainName(dispatch.prefix, name, ctx.backend)]));
  return { name: dispatch.root, elements };
}

function tree(ctx: RenderContext, names: readonly string[], dispatch: TreeDispatch): Chain[] {
  const { children, rootRules } = branches(ctx, names, dispatch);
  return [...children, { name: dispatch.root, rules: [...rootRules, ...dispatch.endRules] }];
}

/** Bins by the character after the common prefix; a bin of one needs no chain. */
function branches(
  ctx: RenderContext,
  names: readonly string[],
  dispatch: TreeDispatch,
): { readonly children: Chain[]; readonly rootRules: Rule[] } {
  const common = commonPrefix(names);
  const children: Chain[] = [];
  const rootRules: Rule[] = [];
  for (const [bin, members] of binsOf(names, common.length + 1)) {
    const rules = members.map((name) => directRule(ctx, dispatch, name));
    if (rules.length === 1) {
      rootRules.push(...rules);
      continue;
    }
    const child = binChain(dispatch, bin, common, rules);
    rootRules.push(binRule(dispatch, bin, child.name));
    children.push(child);
  }
  return { children, rootRules };
}

/** The rule for one name. */
export function directRule(ctx: RenderContext, { kind, prefix }: TreeDispatch, name: string): Rule {
  return rule([{ kind, name }], goTo(endpointChainName(prefix, name, ctx.backend)));
}

/** The root chain's rule for all names that begin with `bin`. */
export function binRule({ kind }: TreeDispatch, bin: string, child: string): Rule {
  return rule([{ kind, name: bin, wildcard: true }], goTo(child));
}

/** The child chain of a bin; `common` is what all names begin with. */
export function binChain(dispatch: TreeDispatch, bin: string, common: string, rules: readonly Rule[]): Chain {
  const { root, infix = '', endRules } = dispatch;
  return { name: `${root}${infix}-${bin.slice(common.length)}`, rules: [...rules, ...endRules] };
}

/** Names by their first `length` characters. */
export function binsOf(names: readonly string[], length: number): Map<string, string[]> {
  const bins = new Map<string, string[]>();
  for (const name of names) {
    const key = name.slice(0, length);
    const members = bins.get(key);
    if (members === undefined) bins.set(key, [name]);
    else members.push(name);
  }
  return bins;
}

/** What all begin with: of a sorted list, the first and the last name differ earliest. */
export function commonPrefix(sorted: readonly string[]): string {
  const first = sorted[0] ?? '';
  const last = sorted.at(-1) ?? '';
  let length = 0;
  while (length < first.length && first[length] === last[length]) length++;
  return first.slice(0, length);
}

function splitDefault(names: Iterable<string>): { readonly names: string[]; readonly hasDefault: boolean } {
  const unique = new Set(names);
  const hasDefault = unique.delete(ANY_INTERFACE);
  return { names: [...unique].sort(), hasDefault };
}

function sortedNames(names: Iterable<string>): string[] {
  return [...new Set(names)].sort();
}
