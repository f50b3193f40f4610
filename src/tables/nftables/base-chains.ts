// The base chains of our tables: where the kernel enters each layer (dataplane.md 5.2, 5.7).
import type { TableName } from '../../model/family.js';
import type { BaseChainSpec, NftFamily } from './io.js';

/** A base chain of one of our tables. */
export interface BaseChain extends BaseChainSpec {
  readonly layer: TableName;
  /** Kernel chain as managers name it, `FORWARD`. */
  readonly hookName: string;
  /** Name in the table, `filter-FORWARD`. */
  readonly name: string;
}

const RAW = -300;
const MANGLE = -150;
const NAT_IN = -100;
/** After kube-proxy's chains, -100 in output and 100 in postrouting. */
const NAT_OUT = 110;

function baseChain(layer: TableName, hookName: string, priority: number, type: BaseChainSpec['type']): BaseChain {
  return { layer, hookName, name: `${layer}-${hookName}`, type, hook: hookName.toLowerCase(), priority };
}

const IP_BASE_CHAINS: readonly BaseChain[] = [
  baseChain('raw', 'PREROUTING', RAW, 'filter'),
  baseChain('raw', 'OUTPUT', RAW, 'filter'),
  baseChain('mangle', 'PREROUTING', MANGLE, 'filter'),
  baseChain('mangle', 'INPUT', MANGLE, 'filter'),
  baseChain('mangle', 'FORWARD', MANGLE, 'filter'),
  baseChain('mangle', 'OUTPUT', MANGLE, 'route'),
  baseChain('mangle', 'POSTROUTING', MANGLE, 'filter'),
  baseChain('nat', 'PREROUTING', NAT_IN, 'nat'),
  baseChain('nat', 'INPUT', NAT_IN, 'nat'),
  baseChain('nat', 'OUTPUT', NAT_OUT, 'nat'),
  baseChain('nat', 'POSTROUTING', NAT_OUT, 'nat'),
  baseChain('filter', 'INPUT', 0, 'filter'),
  baseChain('filter', 'FORWARD', 0, 'filter'),
  baseChain('filter', 'OUTPUT', 0, 'filter'),
];

const ARP_BASE_CHAINS: readonly BaseChain[] = [baseChain('filter', 'OUTPUT', 0, 'filter')];

/** The base chains that a family's table has, used or not. */
export function baseChainsOf(family: NftFamily): readonly BaseChain[] {
  return family === 'arp' ? ARP_BASE_CHAINS : IP_BASE_CHAINS;
}
