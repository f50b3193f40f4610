// The parameters that decide how the graph works. Felix reads them at start and restarts when one changes.

/** Answers the raw text of a parameter, undefined if it is not set. */
export type ParameterLookup = (name: string) => string | undefined;

export interface StartParameters {
  /** NFTablesMode is not Disabled; `Auto`, the default, counts as on. */
  readonly suppressOverlaps: boolean;
  readonly routeSource: 'CalicoIPAM' | 'WorkloadIPs';
  readonly programClusterRoutes: string;
  /** WorkloadSourceSpoofing is Any. */
  readonly allowsSpoofing: boolean;
  /** IstioAmbientMode is Enabled. */
  readonly istioEnabled: boolean;
  /** First entry of InterfacePrefix. */
  readonly interfacePrefix: string;
  /** Undefined: as the pools say. */
  readonly ipipEnabled: boolean | undefined;
  readonly vxlanEnabled: boolean | undefined;
  /** BPFEnabled, WireguardEnabled or WireguardEnabledV6. */
  readonly routesAlwaysNeeded: boolean;
}

function flag(text: string | undefined): boolean | undefined {
  if (text === undefined || text === '') return undefined;
  return ['true', '1', 'yes', 'y', 't'].includes(text.toLowerCase());
}

/** Reads the parameters; what is missing or unknown is the default. */
export function readStartParameters(lookup: ParameterLookup): StartParameters {
  const text = (name: string): string => lookup(name) ?? '';
  const programmed = ['Enabled', 'Disabled', 'EnabledIPIPOnly', 'EnabledNoEncapOnly'].find(
    (value) => value.toLowerCase() === text('ProgramClusterRoutes').toLowerCase(),
  );
  return {
    suppressOverlaps: text('NFTablesMode').toLowerCase() !== 'disabled',
    routeSource: text('RouteSource').toLowerCase() === 'workloadips' ? 'WorkloadIPs' : 'CalicoIPAM',
    programClusterRoutes: programmed ?? 'EnabledIPIPOnly',
    allowsSpoofing: text('WorkloadSourceSpoofing').toLowerCase() === 'any',
    istioEnabled: text('IstioAmbientMode').toLowerCase() === 'enabled',
    interfacePrefix: text('InterfacePrefix').split(',')[0]?.trim() || 'cali',
    ipipEnabled: flag(lookup('IpInIpEnabled')),
    vxlanEnabled: flag(lookup('VXLANEnabled')),
    routesAlwaysNeeded: ['BPFEnabled', 'WireguardEnabled', 'WireguardEnabledV6'].some(
      (name) => flag(lookup(name)) === true,
    ),
  };
}
