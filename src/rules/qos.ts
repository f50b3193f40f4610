// Packet rate and connection limits of workloads (dataplane.md 3.6 steps 2 and 4, 3.13).
import type { Rule } from '../model/chain.js';
import type { QoSControls } from '../protocol/gen/felix/felixbackend_pb.js';
import { clearMark, DROP, type RenderContext, rule } from './context.js';
import type { Direction } from './renderer.js';
import { refuse } from './rule-checks.js';

/** XT_LIMIT_SCALE: the finest that xt_limit can count. Kept for nft, so that both back ends take the same values. */
const MAX_RATE = 10_000n;
/** xt_connlimit counts in 32 bits. */
const MAX_CONNECTIONS = 0xffff_ffffn;

/** Rules of the packet rate limit; none when it is not set. Throws RefusedError for values out of range. */
export function packetRateRules(ctx: RenderContext, qos: QoSControls, direction: Direction, object: string): Rule[] {
  const ingress = direction === 'ingress';
  const rate = ingress ? qos.IngressPacketRate : qos.EgressPacketRate;
  const burst = ingress ? qos.IngressPacketBurst : qos.EgressPacketBurst;
  if (rate === 0n) return [];
  if (rate < 0n || rate > MAX_RATE) refuse(object, `packet rate ${rate} is not in 0..${MAX_RATE}`);
  if (burst < 1n || burst > MAX_RATE) refuse(object, `packet burst ${burst} is not in 1..${MAX_RATE}`);
  const mark = ctx.marks.scratch0;
  const limit = { kind: 'limit-packet-rate', perSecond: Number(rate), burst: Number(burst), mark } as const;
  const over = `Drop packets over ${direction} packet rate limit`;
  if (ctx.backend === 'nftables') return [rule([], limit, over)];
  // xt_limit can only say "within": mark what is, drop the rest.
  const clear = rule([], clearMark(mark), `Clear ${direction} packet rate limit mark`);
  return [
    clear,
    rule([], limit, `Mark packets within ${direction} packet rate limit`),
    rule([{ kind: 'mark-value', value: mark, mask: mark, negated: true }], DROP, over),
    clear,
  ];
}

/** Rule of the connection limit; none when it is not set. Throws RefusedError for values out of range. */
export function connectionLimitRules(qos: QoSControls, direction: Direction, object: string): Rule[] {
  const max = direction === 'ingress' ? qos.IngressMaxConnections : qos.EgressMaxConnections;
  if (max === 0n) return [];
  if (max < 0n || max > MAX_CONNECTIONS) refuse(object, `connection limit ${max} is not in 0..${MAX_CONNECTIONS}`);
  const action = { kind: 'limit-connections', max: Number(max) } as const;
  return [rule([], action, `Reject connections over ${direction} connection limit`)];
}
