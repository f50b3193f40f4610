// What iptables and the kernel of this machine can do, from their version numbers (dataplane.md 3.13, Felix
// environment.FeatureDetector). The flags are part of rule hashes, so both back ends need them.
import type { Logger } from '../../base/logger.js';
import type { CommandRunner } from '../../kernel/command.js';
import type { HostFiles } from '../../kernel/files.js';
import type { Features } from '../../model/features.js';

type Version = readonly [number, number, number];

/** Assumed when a version cannot be found out: the oldest that Felix ever supported. */
const OLDEST_IPTABLES: Version = [1, 4, 7];
const OLDEST_KERNEL: Version = [3, 10, 0];

/** Keys of FeatureDetectOverride that are features here; others are known, and do nothing or are asked for elsewhere. */
const OVERRIDE_KEYS: ReadonlyMap<string, keyof Features | null> = new Map([
  ['SNATFullyRandom', 'snatFullyRandom'],
  ['MASQFullyRandom', 'masqueradeFullyRandom'],
  ['RestoreSupportsLock', 'restoreSupportsLock'],
  ['NFLogSize', 'nflogSize'],
  ['ChecksumOffloadBroken', 'checksumOffloadBroken'],
  ['IPIPDeviceIsL3', null],
  ['KernelSideRouteFiltering', null],
  ['KernelHasUDPGSOFix', null],
  // Whether the ARP table is made, which is for the composition root.
  ['NFTablesSupported', null],
]);

/** `major.minor.patch` of the first such number in the text (`v` before it if `prefix`), or null. */
export function parseVersion(text: string, prefix = ''): Version | null {
  const match = new RegExp(`${prefix}(\\d+)\\.(\\d+)(?:\\.(\\d+))?`).exec(text);
  return match === null ? null : [Number(match[1]), Number(match[2]), Number(match[3] ?? 0)];
}

/** Negative, zero or positive, as for sort. */
export function compareVersions(left: Version, right: Version): number {
  return left[0] - right[0] || left[1] - right[1] || left[2] - right[2];
}

/** Features by version. `iptables` and `kernel` as {@link parseVersion} gives them. */
export function featuresOf(iptables: Version, kernel: Version): Features {
  const iptablesIs = (version: Version): boolean => compareVersions(iptables, version) >= 0;
  const kernelIs = (version: Version): boolean => compareVersions(kernel, version) >= 0;
  return {
    snatFullyRandom: iptablesIs([1, 6, 0]) && kernelIs([3, 14, 0]),
    masqueradeFullyRandom: iptablesIs([1, 6, 2]) && kernelIs([3, 14, 0]),
    restoreSupportsLock: iptablesIs([1, 6, 2]),
    nflogSize: kernelIs([4, 8, 0]),
    checksumOffloadBroken: compareVersions(kernel, [5, 7, 0]) <= 0,
  };
}

/**
 * Detects features by `iptables --version` and `/proc/version`, then lets `overrides` (Felix's FeatureDetectOverride,
 * already parsed) have the last word. Never fails: what cannot be found out counts as old, with a warning.
 */
export async function detectFeatures(
  runner: CommandRunner,
  files: HostFiles,
  overrides: ReadonlyMap<string, boolean>,
  log: Logger,
): Promise<Features> {
  const result = await runner.run({ argv: ['iptables', '--version'] });
  const iptables = result.exitCode === 0 ? parseVersion(result.stdout, 'v') : null;
  if (iptables === null) {
    log.warn('Cannot find out the version of iptables; taking it for an old one without optional features', {
      exitCode: result.exitCode,
      output: (result.stdout + result.stderr).slice(0, 200),
    });
  }
  const kernelText = await files.read('/proc/version');
  const kernel = kernelText === null ? null : parseVersion(kernelText, 'Linux version ');
  if (kernel === null) log.warn('Cannot find out the version of the kernel; taking it for an old one');
  const features: { -readonly [Key in keyof Features]: boolean } = {
    ...featuresOf(iptables ?? OLDEST_IPTABLES, kernel ?? OLDEST_KERNEL),
  };
  for (const [key, value] of overrides) {
    const feature = OVERRIDE_KEYS.get(key);
    if (feature === undefined) log.warn('FeatureDetectOverride has an unknown key; it is ignored', { key });
    else if (feature !== null) features[feature] = value;
  }
  log.info('Detected features', { ...features, iptables: iptables?.join('.'), kernel: kernel?.join('.') });
  return features;
}
