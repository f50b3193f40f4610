// What all parts of the renderer share: options, mark bits and the actions that configuration decides.
import type { Action } from '../model/action.js';
import type { Rule } from '../model/chain.js';
import type { AllowAction, DataplaneConfig, DataplaneEnvironment } from '../model/config.js';
import type { Backend, Family, TableName } from '../model/family.js';
import { ipSetName, OWN_SET_IDS } from '../model/ip-set.js';
import type { Match } from '../model/match.js';
import { EndpointMarks } from './endpoint-marks.js';
import { allocateMarkBits, type MarkBits } from './mark-bits.js';
import type { Direction, RenderOptions } from './renderer.js';

/** Made once per renderer, read by every rendering function. */
export interface RenderContext {
  readonly family: Family;
  readonly backend: Backend;
  readonly config: DataplaneConfig;
  readonly environment: DataplaneEnvironment;
  readonly marks: MarkBits;
  readonly endpointMarks: EndpointMarks;
  /** "allow" in filter and in mangle. */
  readonly filterAllow: Action;
  readonly mangleAllow: Action;
}

export const ACCEPT: Action = { kind: 'accept' };
export const DROP: Action = { kind: 'drop' };
export const RETURN: Action = { kind: 'return' };
export const REJECT: Action = { kind: 'reject' };

/** Throws ConfigError if the mark mask is too small. */
export function createRenderContext(options: RenderOptions): RenderContext {
  const { family, backend, config, environment } = options;
  const marks = allocateMarkBits(config, backend, environment.ipvs);
  return {
    family,
    backend,
    config,
    environment,
    marks,
    endpointMarks: new EndpointMarks(marks),
    filterAllow: allowAction(config.filterAllowAction[backend]),
    mangleAllow: allowAction(config.mangleAllowAction[backend]),
  };
}

function allowAction(action: AllowAction): Action {
  return action === 'ACCEPT' ? ACCEPT : RETURN;
}

/**
 * The configured deny action where the kernel takes it, DROP elsewhere: iptables knows REJECT in filter only, nft not
 * below postrouting, which is where the mangle table's egress chains hang (differences.md row 5).
 */
export function denyAction(ctx: RenderContext, table: TableName, direction: Direction): Action {
  if (ctx.config.filterDenyAction[ctx.backend] === 'DROP') return DROP;
  return acceptsReject(ctx.backend, table, direction) ? REJECT : DROP;
}

/** True if REJECT may stand in a chain of this table that serves this direction of policy. */
export function acceptsReject(backend: Backend, table: TableName, direction: Direction): boolean {
  if (table === 'filter') return true;
  return backend === 'nftables' && (table === 'raw' || direction === 'ingress');
}

/** The word that stands for a deny action in comments. */
export function denyVerb(action: Action): string {
  return action.kind === 'reject' ? 'Reject' : 'Drop';
}

/** A rule; without comments the field is left out. */
export function rule(match: readonly Match[], action: Action, ...comments: readonly string[]): Rule {
  return comments.length === 0 ? { match, action } : { match, action, comments };
}

export function jump(chain: string): Action {
  return { kind: 'jump', chain };
}

export function goTo(chain: string): Action {
  return { kind: 'goto', chain };
}

export function setMark(mask: number): Action {
  return { kind: 'set-mark', mask };
}

export function clearMark(mask: number): Action {
  return { kind: 'clear-mark', mask };
}

/** Matches when all bits of `mask` are set. */
export function markSet(mask: number): Match {
  return { kind: 'mark-value', value: mask, mask };
}

/** Matches when all bits of `mask` are clear. */
export function markClear(mask: number): Match {
  return { kind: 'mark-clear', mask };
}

/** Matches when any bit of `mask` is set. */
export function markNotClear(mask: number): Match {
  return { kind: 'mark-not-clear', mask };
}

/** One match per workload interface prefix. */
export function workloadInterfaces(ctx: RenderContext, kind: 'in-interface' | 'out-interface'): Match[] {
  return ctx.config.interfacePrefixes.map((name) => ({ kind, name, wildcard: true }));
}

/** Kernel name of one of our own sets. */
export function ownSet(ctx: RenderContext, id: keyof typeof OWN_SET_IDS): string {
  return ipSetName(ctx.family, OWN_SET_IDS[id]);
}

/** Multiport match on one port. */
export function onePort(kind: 'source-ports' | 'dest-ports', protocol: string | number, port: number): Match {
  return { kind, protocol, ports: [{ first: port, last: port }] };
}

/** VXLAN is on for the renderer's family. */
export function vxlanEnabled(ctx: RenderContext): boolean {
  return ctx.family === 4 ? ctx.environment.vxlanEnabled : ctx.environment.vxlanEnabledV6;
}

/** IPIP exists for IPv4 only. */
export function ipipEnabled(ctx: RenderContext): boolean {
  return ctx.family === 4 && ctx.environment.ipipEnabled;
}

/** Wireguard of the renderer's family, or null when it is off. */
export function wireguard(ctx: RenderContext): { readonly interfaceName: string; readonly port: number } | null {
  const config = ctx.config;
  if (ctx.family === 4) {
    if (!config.wireguardEnabled) return null;
    return { interfaceName: config.wireguardInterfaceName, port: config.wireguardListeningPort };
  }
  if (!config.wireguardEnabledV6) return null;
  return { interfaceName: config.wireguardInterfaceNameV6, port: config.wireguardListeningPortV6 };
}

/** IP protocol numbers that static rules match by number. */
export const PROTOCOL = { ipip: 4, udp: 17, icmpv6: 58 } as const;
