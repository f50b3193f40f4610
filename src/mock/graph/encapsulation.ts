// Which encapsulations the pools ask for, and whether this node needs routes and VTEPs at all (calc-graph.md 12).
import { create } from '@bufbuild/protobuf';
import { type Encapsulation, EncapsulationSchema } from '../../protocol/gen/felix/felixbackend_pb.js';
import type { StartParameters } from '../config/start-parameters.js';
import type { PoolModel } from './entries.js';

/** The Encapsulation message for these pools. */
export function encapsulationOf(pools: Iterable<PoolModel>, parameters: StartParameters): Encapsulation {
  let ipip = false;
  let vxlan = false;
  let vxlanV6 = false;
  let plain = false;
  for (const pool of pools) {
    if (pool.ipipMode !== 'Never') ipip = true;
    if (pool.vxlanMode !== 'Never' && pool.cidr.family === 4) vxlan = true;
    if (pool.vxlanMode !== 'Never' && pool.cidr.family === 6) vxlanV6 = true;
    if (pool.ipipMode === 'Never' && pool.vxlanMode === 'Never') plain = true;
  }
  const programsPlain = ['Enabled', 'EnabledNoEncapOnly'].includes(parameters.programClusterRoutes);
  return create(EncapsulationSchema, {
    ipipEnabled: parameters.ipipEnabled ?? ipip,
    vxlanEnabled: parameters.vxlanEnabled ?? vxlan,
    vxlanEnabledV6: vxlanV6,
    noEncapEnabled: programsPlain && plain,
  });
}

/** True if VTEPs are sent. */
export function needsVteps(encapsulation: Encapsulation): boolean {
  return encapsulation.vxlanEnabled || encapsulation.vxlanEnabledV6;
}

/** True if routes are sent. */
export function needsRoutes(encapsulation: Encapsulation, parameters: StartParameters): boolean {
  const programsIpip = ['Enabled', 'EnabledIPIPOnly'].includes(parameters.programClusterRoutes);
  return (
    parameters.routesAlwaysNeeded ||
    needsVteps(encapsulation) ||
    encapsulation.noEncapEnabled ||
    (encapsulation.ipipEnabled && programsIpip)
  );
}
