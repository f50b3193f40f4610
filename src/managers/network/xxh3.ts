// XXH3-64 with seed 0 (github.com/Cyan4973/xxHash, doc/xxhash_spec.md; what github.com/zeebo/xxh3 computes), for the ring
// by which the nodes of a cluster agree who answers for an address. Slow and simple: few hashes, cached by the ring.

const MASK = 0xffffffffffffffffn;
const PRIME32 = [0n, 0x9e3779b1n, 0x85ebca77n, 0xc2b2ae3dn] as const;
const PRIME64 = [
  0n,
  0x9e3779b185ebca87n,
  0xc2b2ae3d27d4eb4fn,
  0x165667b19e3779f9n,
  0x85ebca77c2b2ae63n,
  0x27d4eb2f165667c5n,
] as const;
const PRIME_AVALANCHE = 0x165667919e3779f9n;
const PRIME_RRMXMX = 0x9fb21c651e98df25n;

/** The default secret of the specification. */
const SECRET = Buffer.from(
  'b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221' +
    'b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8' +
    'a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb' +
    '170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e',
  'hex',
);
const STRIPE = 64;
const STRIPES_PER_BLOCK = 16;

const multiply = (a: bigint, b: bigint): bigint => (a * b) & MASK;
const rotate = (value: bigint, bits: bigint): bigint => ((value << bits) | (value >> (64n - bits))) & MASK;
const secret64 = (offset: number): bigint => SECRET.readBigUInt64LE(offset);

/** High half xor low half of the 128-bit product. */
function fold(a: bigint, b: bigint): bigint {
  const product = a * b;
  return (product & MASK) ^ (product >> 64n);
}

function swap(value: bigint): bigint {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes.readBigUInt64BE();
}

function avalanche(hash: bigint): bigint {
  let value = hash ^ (hash >> 37n);
  value = multiply(value, PRIME_AVALANCHE);
  return value ^ (value >> 32n);
}

function avalanche64(hash: bigint): bigint {
  let value = hash ^ (hash >> 33n);
  value = multiply(value, PRIME64[2]);
  value ^= value >> 29n;
  value = multiply(value, PRIME64[3]);
  return value ^ (value >> 32n);
}

function hashUpTo16(data: Buffer): bigint {
  const { length } = data;
  if (length > 8) {
    const low = data.readBigUInt64LE(0) ^ secret64(24) ^ secret64(32);
    const high = data.readBigUInt64LE(length - 8) ^ secret64(40) ^ secret64(48);
    return avalanche((BigInt(length) + swap(low) + high + fold(low, high)) & MASK);
  }
  if (length >= 4) {
    const combined = BigInt(data.readUInt32LE(length - 4)) + (BigInt(data.readUInt32LE(0)) << 32n);
    let value = combined ^ secret64(8) ^ secret64(16);
    value ^= rotate(value, 49n) ^ rotate(value, 24n);
    value = multiply(value, PRIME_RRMXMX);
    value ^= (value >> 35n) + BigInt(length);
    value = multiply(value & MASK, PRIME_RRMXMX);
    return value ^ (value >> 28n);
  }
  if (length === 0) return avalanche64(secret64(56) ^ secret64(64));
  const bytes = [data[0] ?? 0, data[length >> 1] ?? 0, data[length - 1] ?? 0] as const;
  const combined = (BigInt(bytes[0]) << 16n) | (BigInt(bytes[1]) << 24n) | BigInt(bytes[2]) | (BigInt(length) << 8n);
  return avalanche64(combined ^ BigInt((SECRET.readUInt32LE(0) ^ SECRET.readUInt32LE(4)) >>> 0));
}

function mix16(data: Buffer, offset: number, secretOffset: number): bigint {
  return fold(
    data.readBigUInt64LE(offset) ^ secret64(secretOffset),
    data.readBigUInt64LE(offset + 8) ^ secret64(secretOffset + 8),
  );
}

function hashUpTo128(data: Buffer): bigint {
  const { length } = data;
  let sum = BigInt(length) * PRIME64[1];
  for (let pair = Math.floor((length - 1) / 32); pair >= 0; pair--) {
    sum += mix16(data, 16 * pair, 32 * pair) + mix16(data, length - 16 * (pair + 1), 32 * pair + 16);
  }
  return avalanche(sum & MASK);
}

function hashUpTo240(data: Buffer): bigint {
  const { length } = data;
  let sum = BigInt(length) * PRIME64[1];
  for (let round = 0; round < 8; round++) sum += mix16(data, 16 * round, 16 * round);
  sum = avalanche(sum & MASK);
  for (let round = 8; round < Math.floor(length / 16); round++) sum += mix16(data, 16 * round, 16 * (round - 8) + 3);
  return avalanche((sum + mix16(data, length - 16, 119)) & MASK);
}

function accumulate(lanes: bigint[], data: Buffer, offset: number, secretOffset: number): void {
  for (let lane = 0; lane < 8; lane++) {
    const value = data.readBigUInt64LE(offset + 8 * lane);
    const key = value ^ secret64(secretOffset + 8 * lane);
    lanes[lane ^ 1] = ((lanes[lane ^ 1] ?? 0n) + value) & MASK;
    lanes[lane] = ((lanes[lane] ?? 0n) + (key & 0xffffffffn) * (key >> 32n)) & MASK;
  }
}

function hashLong(data: Buffer): bigint {
  const { length } = data;
  const [, p1, p2, p3, p4, p5] = PRIME64;
  const lanes: bigint[] = [PRIME32[3], p1, p2, p3, p4, PRIME32[2], p5, PRIME32[1]];
  const stripes = Math.floor((length - 1) / STRIPE);
  for (let stripe = 0; stripe < stripes; stripe++) {
    const inBlock = stripe % STRIPES_PER_BLOCK;
    accumulate(lanes, data, stripe * STRIPE, 8 * inBlock);
    if (inBlock !== STRIPES_PER_BLOCK - 1) continue;
    for (const [lane, value] of lanes.entries()) {
      lanes[lane] = multiply(value ^ (value >> 47n) ^ secret64(SECRET.length - STRIPE + 8 * lane), PRIME32[1]);
    }
  }
  accumulate(lanes, data, length - STRIPE, SECRET.length - STRIPE - 7);
  let result = BigInt(length) * p1;
  for (let pair = 0; pair < 4; pair++) {
    const left = (lanes[2 * pair] ?? 0n) ^ secret64(11 + 16 * pair);
    result += fold(left, (lanes[2 * pair + 1] ?? 0n) ^ secret64(19 + 16 * pair));
  }
  return avalanche(result & MASK);
}

/** The hash as an unsigned 64-bit number. */
export function xxh3(data: Buffer): bigint {
  if (data.length <= 16) return hashUpTo16(data);
  if (data.length <= 128) return hashUpTo128(data);
  return data.length <= 240 ? hashUpTo240(data) : hashLong(data);
}
