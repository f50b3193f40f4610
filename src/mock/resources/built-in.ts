// What every datastore holds without anybody writing it (calc-graph.md section 3).
import type { GraphEntry, RuleModel } from '../graph/entries.js';
import { BUILT_IN_TIERS } from './profile.js';
import { convertRule, type RuleRead } from './rule.js';

const ALLOW_ALL: RuleRead = {
  action: 'Allow',
  ipVersion: undefined,
  protocol: undefined,
  notProtocol: undefined,
  icmp: undefined,
  notICMP: undefined,
  source: undefined,
  destination: undefined,
  http: undefined,
  metadata: undefined,
};

/** One rule that allows everything. */
export function builtInAllow(): RuleModel[] {
  return [convertRule(ALLOW_ALL, '')];
}

/** Three tiers and one profile; a resource of the same name takes their place while it is there. */
export function builtInEntries(): GraphEntry[] {
  const tiers = [...BUILT_IN_TIERS].map(([key, value]): GraphEntry => ({ type: 'tier', key, value }));
  const profile: GraphEntry = {
    type: 'profile',
    key: 'projectcalico-default-allow',
    value: { inbound: builtInAllow(), outbound: builtInAllow(), labels: new Map() },
  };
  return [...tiers, profile];
}
