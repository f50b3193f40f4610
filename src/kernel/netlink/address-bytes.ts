// Addresses as the kernel has them in packets and structs: network order.

/** The 4 or 16 bytes of an address. */
export function addressBytes(family: 4 | 6, value: number | bigint): Buffer {
  if (family === 4) {
    const bytes = Buffer.allocUnsafe(4);
    bytes.writeUInt32BE(Number(value));
    return bytes;
  }
  const bytes = Buffer.allocUnsafe(16);
  const wide = BigInt(value);
  bytes.writeBigUInt64BE(wide >> 64n, 0);
  bytes.writeBigUInt64BE(wide & 0xffff_ffff_ffff_ffffn, 8);
  return bytes;
}
