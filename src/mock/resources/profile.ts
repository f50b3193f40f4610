// Profile and Tier (calc-graph.md sections 3, 7 and 10).
import { defaulted, listOf, mapOf, number, object, oneOf, optional, text } from '../schema/decoder.js';
import { defineKind, type Fault, type Read } from './kind.js';
import { convertRule, ruleDecoder } from './rule.js';

const profileSpec = object({
  ingress: listOf(ruleDecoder('ingress', true)),
  egress: listOf(ruleDecoder('egress', true)),
  labelsToApply: mapOf(text()),
});

/** The kind Profile. */
export const profile = defineKind({
  api: 'calico',
  kind: 'Profile',
  namespaced: false,
  fields: { spec: profileSpec },
  convert: ({ name, body }) => [
    {
      type: 'profile',
      key: name,
      value: {
        inbound: body.spec.ingress.map((rule) => convertRule(rule, '')),
        outbound: body.spec.egress.map((rule) => convertRule(rule, '')),
        labels: body.spec.labelsToApply,
      },
    },
  ],
});

const tierSpec = object({
  order: optional(number),
  defaultAction: defaulted(oneOf('Deny', 'Pass'), 'Deny'),
});

const tierSpecOrDefault = defaulted(tierSpec, { order: undefined, defaultAction: 'Deny' });

/** Tiers that always exist, whatever is applied. */
export const BUILT_IN_TIERS: ReadonlyMap<string, { readonly order: number; readonly defaultAction: 'Deny' | 'Pass' }> =
  new Map([
    ['kube-admin', { order: 1_000, defaultAction: 'Pass' }],
    ['default', { order: 1_000_000, defaultAction: 'Deny' }],
    ['kube-baseline', { order: 10_000_000, defaultAction: 'Pass' }],
  ]);

const DEFAULT_ORDER = 1_000_000;

function checkTier({
  name,
  body,
}: Read<{ readonly spec: { readonly order: number | undefined; readonly defaultAction: string } }>): Fault[] {
  const fixed = BUILT_IN_TIERS.get(name);
  const faults: Fault[] =
    name.includes('.') || name.length > 63
      ? [{ field: 'metadata.name', message: 'must be at most 63 characters without dots' }]
      : [];
  if (fixed !== undefined && (body.spec.order ?? DEFAULT_ORDER) !== fixed.order) {
    faults.push({ field: 'spec.order', message: `must be ${fixed.order} for the tier ${name}` });
  }
  if (fixed !== undefined && body.spec.defaultAction !== fixed.defaultAction) {
    faults.push({ field: 'spec.defaultAction', message: `must be ${fixed.defaultAction} for the tier ${name}` });
  }
  return faults;
}

/** The kind Tier. */
export const tier = defineKind({
  api: 'calico',
  kind: 'Tier',
  namespaced: false,
  fields: { spec: tierSpecOrDefault },
  check: checkTier,
  convert: ({ name, body }) => [
    {
      type: 'tier',
      key: name,
      value: { order: body.spec.order ?? DEFAULT_ORDER, defaultAction: body.spec.defaultAction },
    },
  ],
});
