// IPPool, and the IPAM blocks that tell which node has which part of a pool (calc-graph.md sections 12, 13 and 17).
import type { BlockModel } from '../graph/entries.js';
import { type Cidr, containsCidr, hostCidr, makeCidr, parseAddress } from '../net/cidr.js';
import {
  anything,
  bool,
  type Cursor,
  type Decoded,
  defaulted,
  integer,
  list,
  listOf,
  map,
  mapOf,
  object,
  oneOf,
  openObject,
  optional,
  text,
} from '../schema/decoder.js';
import { cidr, selectorText } from '../schema/scalars.js';
import { defineKind } from './kind.js';

const encapMode = defaulted(oneOf('Never', 'Always', 'CrossSubnet'), 'Never');

const fields = object({
  cidr,
  ipipMode: encapMode,
  vxlanMode: encapMode,
  natOutgoing: defaulted(bool, false),
  disabled: defaulted(bool, false),
  disableBGPExport: defaulted(bool, false),
  nodeSelector: optional(selectorText()),
  namespaceSelector: optional(selectorText()),
  blockSize: optional(integer(20, 128)),
  allowedUses: listOf(oneOf('Workload', 'Tunnel', 'LoadBalancer')),
  assignmentMode: optional(oneOf('Automatic', 'Manual')),
});

const LINK_LOCAL: Record<4 | 6, Cidr> = {
  4: makeCidr(parseAddress('169.254.0.0') ?? { family: 4, bits: 0n }, 16),
  6: makeCidr(parseAddress('fe80::') ?? { family: 6, bits: 0n }, 10),
};

function checkPool(spec: Decoded<typeof fields>, cursor: Cursor): Decoded<typeof fields> {
  const { family, length } = spec.cidr;
  const encapsulated = spec.ipipMode !== 'Never' || spec.vxlanMode !== 'Never';
  if (spec.ipipMode !== 'Never' && spec.vxlanMode !== 'Never')
    cursor.at('vxlanMode').note('must be Never when ipipMode is not');
  if (spec.ipipMode !== 'Never' && family === 6) cursor.at('ipipMode').note('must be Never for an IPv6 pool');
  const [min, max, usual] = family === 4 ? [20, 32, 26] : [116, 128, 122];
  const blockSize = spec.blockSize ?? usual;
  if (blockSize < min || blockSize > max)
    cursor.at('blockSize').note(`must be ${min} to ${max} for an IPv${family} pool`);
  if (length > blockSize) cursor.at('cidr').note(`must not be smaller than one block, which is a /${blockSize}`);
  if (spec.allowedUses.includes('LoadBalancer') && (spec.allowedUses.length > 1 || encapsulated)) {
    cursor.at('allowedUses').note('LoadBalancer must be the only use, and the pool must not be encapsulated');
  }
  if (containsCidr(LINK_LOCAL[family], spec.cidr)) cursor.at('cidr').note('must not be link-local');
  return spec;
}

const poolSpec = map(fields, checkPool);

/** The kind IPPool. */
export const ipPool = defineKind({
  api: 'calico',
  kind: 'IPPool',
  namespaced: false,
  fields: { spec: poolSpec },
  convert: ({ body: { spec } }) => [
    {
      type: 'pool',
      key: spec.cidr.text,
      value: {
        cidr: spec.cidr,
        ipipMode: spec.ipipMode,
        vxlanMode: spec.vxlanMode,
        natOutgoing: spec.natOutgoing,
        allowedUses: spec.allowedUses.length === 0 ? ['Workload', 'Tunnel'] : spec.allowedUses,
      },
    },
  ],
});

const blockSpec = openObject({
  cidr,
  affinity: defaulted(text('host:NODE or virtual:NAME'), ''),
  allocations: list(optional(integer(0, 65535))),
  attributes: listOf(openObject({ secondary: mapOf(text()) })),
  deleted: defaulted(bool, false),
});

function convertBlock(spec: Decoded<typeof blockSpec>): BlockModel {
  const affinity = /^(?:host|virtual):(.*)$/.exec(spec.affinity)?.[1] ?? '';
  const borrowed = spec.allocations.flatMap((index, ordinal) => {
    const node = index === undefined ? undefined : spec.attributes[index]?.secondary.get('node');
    if (node === undefined || node === '' || node === affinity) return [];
    return [{ cidr: hostCidr({ family: spec.cidr.family, bits: spec.cidr.bits + BigInt(ordinal) }), node }];
  });
  return { cidr: spec.cidr, affinity, borrowed };
}

/** The kind IPAMBlock, as Calico IPAM stores it. */
export const ipamBlock = defineKind({
  api: 'calico',
  kind: 'IPAMBlock',
  namespaced: false,
  fields: { spec: blockSpec },
  convert: ({ body: { spec } }) =>
    spec.deleted ? [] : [{ type: 'block', key: spec.cidr.text, value: convertBlock(spec) }],
});

/** The kind BlockAffinity: taken so that IPAM data can be applied whole; blocks say all that is needed. */
export const blockAffinity = defineKind({
  api: 'calico',
  kind: 'BlockAffinity',
  namespaced: false,
  fields: { spec: anything },
  convert: () => [],
});
