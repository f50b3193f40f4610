// Rules compiled one after the other, with what they have in common made once, are what each of them is alone. That they
// are what nft makes is the matter of test/kernel/nft-compile.test.ts.
import { describe, expect, it } from 'vitest';
import { parseMessages } from '../../../src/kernel/netlink/message.js';
import type { ChainRules, NftFamily, Statement } from '../../../src/tables/nftables/io.js';
import { compileScript, type ElementKinds } from '../../../src/tables/nftables/script-compiler.js';

/** Texts that share what they do, or the beginning, or all of it. */
const TEXTS = [
  'counter accept',
  'meta l4proto tcp ip saddr @a tcp dport { 1000 } counter meta mark set mark or 0x10000',
  'meta mark & 0x10000 == 0x10000 counter return',
  'meta l4proto tcp ip saddr @longer-name tcp dport { 1001 } counter meta mark set mark or 0x10000',
  'meta l4proto udp ip saddr @a tcp dport 1000 counter meta mark set mark or 0x10000',
  'tcp dport 1000 counter return',
  'udp sport != 1000 counter return',
  'meta l4proto tcp ip saddr @a tcp dport { 1000 } counter meta mark set mark or 0x10000',
  'meta l4proto != tcp counter jump target',
  'meta l4proto tcp counter jump target',
  'counter jump target',
  'counter jump other',
  'iifname cali1 counter jump other',
  'oifname cali* counter goto other',
  'ip daddr != 10.0.0.0/12 counter drop',
  'ip saddr 10.0.0.0/8 counter drop',
  'ip daddr . meta l4proto . th dport @ports counter accept',
  'ct state related,established counter accept',
  'meta l4proto tcp meta mark & 0xff != 0x1 counter accept',
  'counter meta mark set mark & 0xfffcffff ^ 0x10000',
  'meta l4proto tcp ip saddr @longer-name tcp dport { 1000 } counter meta mark set mark or 0x10000',
  'ip daddr != @a counter accept',
  'ip daddr != @longer-name counter accept',
  'ip daddr @longer-name counter accept',
  'ip saddr @a ip daddr @b counter drop',
  'ip saddr @a ip daddr @c counter drop',
  'ip daddr . meta l4proto . th dport @other-ports counter accept',
  'iifname vmap @map',
  'iifname vmap @other-map',
];

function rules(chain: string, texts: readonly string[], family: NftFamily = 'ip'): ChainRules {
  return { table: `${family} calico`, chain, texts, comments: texts.map((text) => `cali:${text.length};`) };
}

/** What nft keeps with an interval that has no end. */
const OPEN_INTERVAL = '010401000000';

/** The messages between the marks of begin and end; the flag that asks for an answer depends on the place. */
function bodies(statements: readonly Statement[], kinds: ElementKinds = new Map()): string[] {
  const batch = compileScript(statements, kinds);
  if (batch === null) throw new Error('a form is not known');
  const messages = parseMessages(batch.bytes);
  expect(messages).toHaveLength(batch.messages);
  return messages.slice(1, -1).map(({ type, payload }) => `${type} ${payload.toString('hex')}`);
}

describe('compileScript', () => {
  it('makes of many rules what it makes of each alone', () => {
    const together = bodies([rules('one', TEXTS), rules('two', TEXTS)]);
    const alone = ['one', 'two'].flatMap((chain) => TEXTS.map((text) => bodies([rules(chain, [text])])[0]));
    expect(together).toEqual(alone);
    expect(new Set(together).size).toBe(2 * (TEXTS.length - 1));
  });

  it('holds any rules, however long they are', () => {
    const texts = Array.from(
      { length: 50 },
      (_, index) => `${'meta mark & 0x1 == 0x1 '.repeat(20)}counter jump c${index}`,
    );
    const comments = texts.map((_, index) => String(index).padEnd(128, 'x'));
    const messages = bodies([{ ...rules('chain', texts), comments }]);
    expect(messages.map((body) => body.includes(Buffer.from(comments[0] ?? '').toString('hex')))).toEqual(
      texts.map((_, index) => index === 0),
    );
    expect(messages).toHaveLength(50);
  });

  it.each([
    'meta l4proto tcp counter tcp dport 1000 accept',
    'accept counter drop',
    'counter accept drop',
    ' counter accept',
  ])('leaves to nft what render.ts never prints: %s', (text) => {
    expect(compileScript([rules('chain', [text])], new Map())).toBeNull();
  });

  it.each(['ip saddr @ counter accept', 'ip saddr @{ counter accept', 'ip saddr @a"b counter accept'])(
    'leaves a name that no set can have to nft, after rules like it too: %s',
    (text) => {
      const known = 'ip saddr @a counter accept';
      expect(compileScript([rules('chain', [known, known.replace('@a', '@b')])], new Map())).not.toBeNull();
      expect(compileScript([rules('chain', [known, text])], new Map())).toBeNull();
    },
  );

  it.each(['10.0.0.1', '0.0.0.0', '255.255.255.254', '255.255.255.255'])('encodes %s as its prefix', (address) => {
    const of = (element: string): string => {
      const kinds: ElementKinds = new Map([['ip calico nets', 'interval']]);
      return bodies([{ operation: 'add', table: 'ip calico', set: 'nets', elements: [element] }], kinds).join();
    };
    expect(of(address)).toEqual(of(`${address}/32`));
    expect(of(address).includes(OPEN_INTERVAL)).toBe(address === '255.255.255.255');
  });

  it('splits the elements of a set, and loses none', () => {
    const elements = Array.from({ length: 1_700 }, (_, index) => `10.0.${index >> 8}.${index & 255}`);
    const kinds: ElementKinds = new Map([['ip calico nets', 'interval']]);
    const change = { operation: 'add', table: 'ip calico', set: 'nets', elements } as const;
    const messages = bodies([change], kinds);
    expect(messages).toHaveLength(3);
    expect(messages).toEqual(
      [0, 800, 1_600].flatMap((first) => bodies([{ ...change, elements: elements.slice(first, first + 800) }], kinds)),
    );
  });
});
