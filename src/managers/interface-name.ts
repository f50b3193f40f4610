// Decides which interface names may go into rules, maps, routes and sysctl paths at all.

/** IFNAMSIZ without the closing zero, in bytes. */
const MAX_LENGTH = 15;

/**
 * Null for a name that is safe everywhere, else the reason. Stricter than the kernel: a name goes unquoted into nft
 * maps, into iptables-restore lines (where a trailing `+` is a wildcard and a leading `!` or `-` an option) and into
 * paths below /proc/sys.
 */
export function interfaceNameProblem(name: string): string | null {
  if (name === '') return 'interface name is empty';
  if (Buffer.byteLength(name) > MAX_LENGTH) return `interface name ${JSON.stringify(name)} is longer than 15 bytes`;
  if (!/^[A-Za-z0-9_][A-Za-z0-9_.-]*$/.test(name)) {
    return `interface name ${JSON.stringify(name)} has characters other than letters, digits, '_', '.' and '-'`;
  }
  return null;
}
