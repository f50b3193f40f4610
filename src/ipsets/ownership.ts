// Which sets in the kernel are ours, by name (dataplane.md 4.7, 3.11).
import type { Family } from '../model/family.js';

/** Names without a family that very old versions made. */
const LEGACY_V4_PREFIXES = ['felix-masq-ipam-pools', 'felix-all-ipam-pools'];

/** Whether a set of this name was made by Calico for the family, by this version or any before. */
export function ownsIpSet(family: Family, name: string): boolean {
  if (name.startsWith(`cali${family}`) || name.startsWith(`felix-${family}`)) return true;
  return family === 4 && LEGACY_V4_PREFIXES.some((prefix) => name.startsWith(prefix));
}

/** Name of the `index`th temporary set, which is filled and then swapped with the real one. */
export function tempIpSetName(family: Family, index: number): string {
  return `cali${family}t${index}`;
}

/** Whether the name is that of a temporary set, ours or one that a former run left. */
export function isTempIpSetName(family: Family, name: string): boolean {
  return name.startsWith(`cali${family}t`);
}
