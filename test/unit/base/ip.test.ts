// The IP module against ipaddr.js, and its refusals by hand.
import fc from 'fast-check';
import ipaddr from 'ipaddr.js';
import { describe, expect, test } from 'vitest';
import {
  addressFamily,
  canonicalAddress,
  canonicalCidr,
  cidrContains,
  formatIpv4,
  formatIpv6,
  formatIpv6Bytes,
  isValidAddress,
  isValidCidr,
  parseAddress,
  parseCidr,
  parseIpv4,
  parseIpv6,
} from '../../../src/base/ip.js';

const v4Text = fc.ipV4();
const v6Text = fc
  .oneof(
    fc.ipV6(),
    fc.bigInt({ min: 0n, max: (1n << 128n) - 1n }).map(formatIpv6),
    // Sparse groups make zero runs, which random addresses never have.
    fc.array(fc.constantFrom('0', '0', '1', 'ffff', '0db8'), { minLength: 8, maxLength: 8 }).map((g) => g.join(':')),
  )
  // ipaddr.js reads the deprecated `::10.0.0.1` as the mapped `::ffff:10.0.0.1`, which is another address.
  .filter((text) => !/^::\d+\.\d/.test(text));

function bytesOf(text: string): number[] {
  return ipaddr.parse(text).toByteArray();
}

function toBigInt(bytes: readonly number[]): bigint {
  return bytes.reduce((value, byte) => (value << 8n) | BigInt(byte), 0n);
}

describe('parse and format agree with ipaddr.js', () => {
  test('parseIpv4 for any v4 address', () => {
    fc.assert(
      fc.property(v4Text, (text) => {
        const value = parseIpv4(text);
        expect(value).not.toBeNull();
        expect(BigInt(value ?? -1)).toBe(toBigInt(bytesOf(text)));
        expect(formatIpv4(value ?? -1)).toBe(text);
      }),
    );
  });

  test('parseIpv6 for any v6 text', () => {
    fc.assert(
      fc.property(v6Text, (text) => {
        const value = parseIpv6(text);
        expect(value).toBe(toBigInt(bytesOf(text)));
        const canonical = formatIpv6(value ?? 0n);
        expect(parseIpv6(canonical)).toBe(value);
        expect(formatIpv6Bytes(Uint8Array.from([7, ...bytesOf(text)]), 1)).toBe(canonical);
        if (!canonical.includes('.')) expect(canonical).toBe(ipaddr.IPv6.parse(text).toRFC5952String());
      }),
    );
  });

  test('canonicalCidr for any prefix length', () => {
    fc.assert(
      fc.property(v4Text, fc.integer({ min: 0, max: 32 }), (text, length) => {
        const network = ipaddr.IPv4.networkAddressFromCIDR(`${text}/${length}`).toString();
        expect(canonicalCidr(`${text}/${length}`)).toBe(`${network}/${length}`);
      }),
    );
    fc.assert(
      fc.property(v6Text, fc.integer({ min: 0, max: 128 }), (text, length) => {
        const network = ipaddr.IPv6.networkAddressFromCIDR(`${ipaddr.parse(text).toString()}/${length}`);
        const mine = parseCidr(canonicalCidr(`${text}/${length}`) ?? '');
        expect(mine?.value).toBe(toBigInt(network.toByteArray()));
        expect(mine?.length).toBe(length);
      }),
    );
  });

  test('cidrContains as ipaddr.js match', () => {
    const shortV4 = fc.tuple(
      fc.constantFrom('10.0.0.0', '10.0.0.77', '10.1.0.0', '255.255.255.255'),
      fc.integer({ min: 0, max: 32 }),
    );
    fc.assert(
      fc.property(shortV4, v4Text, ([net, length], address) => {
        const outer = parseCidr(`${net}/${length}`);
        const inner = parseAddress(address);
        if (outer === null || inner === null) throw new Error('generator made an invalid address');
        expect(cidrContains(outer, inner)).toBe(ipaddr.IPv4.parse(address).match(ipaddr.IPv4.parse(net), length));
      }),
    );
  });

  test('parseAddress for any junk never throws and never accepts what ipaddr.js refuses', () => {
    const junk = fc.string({ unit: fc.constantFrom('0', '1', 'f', ':', '.', '/', '9', 'g', ' '), maxLength: 20 });
    fc.assert(
      fc.property(junk, (text) => {
        if (parseAddress(text) !== null) expect(ipaddr.isValid(text)).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });
});

describe('refusals', () => {
  const badAddresses = [
    '',
    '1.2.3',
    '1.2.3.4.5',
    '01.2.3.4',
    '1.2.3.256',
    '1.2.3.4 ',
    ' 1.2.3.4',
    '1..2.3',
    '1.2.3.-4',
  ];
  const badV6 = [
    ':',
    ':::',
    '1::2::3',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4:5:6:7:8::',
    'fe80::1%eth0',
    '[::1]',
  ];
  const morebadV6 = ['12345::', '::1.2.3', '1.2.3.4::', '::g', ':1::', '1::2:', '::1.2.3.4:5'];
  test.each([...badAddresses, ...badV6, ...morebadV6])('parseAddress(%j) is null', (text) => {
    expect(parseAddress(text)).toBeNull();
    expect(isValidAddress(text)).toBe(false);
    expect(addressFamily(text)).toBeNull();
  });

  test.each(['10.0.0.0/33', '10.0.0.0/', '10.0.0.0/-1', '10.0.0.0/01', '::/129', '10.0.0.0/8/8', '/8'])(
    'parseCidr(%j) is null',
    (text) => {
      expect(parseCidr(text)).toBeNull();
      expect(canonicalCidr(text)).toBeNull();
    },
  );
});

describe('canonical texts', () => {
  test.each([
    ['10.0.0.77/26', '10.0.0.64/26'],
    ['255.255.255.255/0', '0.0.0.0/0'],
    ['10.0.0.1', '10.0.0.1/32'],
    ['FD00::1:2/64', 'fd00::/64'],
    ['fd00::1', 'fd00::1/128'],
    ['::/0', '::/0'],
  ])('canonicalCidr(%s) is %s', (text, expected) => {
    expect(canonicalCidr(text)).toBe(expected);
  });

  test.each([
    ['0:0:0:0:0:0:0:0', '::'],
    ['1:0:0:2:0:0:0:3', '1:0:0:2::3'],
    ['1:0:0:2:3:0:0:4', '1::2:3:0:0:4'],
    ['1:0:2:3:4:5:6:7', '1:0:2:3:4:5:6:7'],
    ['::FFFF:a00:1', '::ffff:10.0.0.1'],
    ['1:2:3:4:5:6:0:0', '1:2:3:4:5:6::'],
  ])('canonicalAddress(%s) is %s', (text, expected) => {
    expect(canonicalAddress(text)).toBe(expected);
  });

  test('addressFamily and isValidCidr with a family', () => {
    expect(addressFamily('10.0.0.0/8')).toBe(4);
    expect(addressFamily('fd00::')).toBe(6);
    expect(isValidCidr('10.0.0.0/8', 6)).toBe(false);
    expect(isValidCidr('10.0.0.0/8', 4)).toBe(true);
    expect(isValidAddress('fd00::1', 6)).toBe(true);
    expect(isValidAddress('10.0.0.0/8')).toBe(false);
  });
});
