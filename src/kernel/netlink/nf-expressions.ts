// The expressions of nf_tables rules as bytes: what nft makes of a rule's text (include/uapi/linux/netfilter/nf_tables.h;
// kept equal to nft 1.0.6 by test/kernel/nft-compile.test.ts).
import { ATTRIBUTE_HEADER_LENGTH, MessageWriter } from './message.js';

/** Fields that `meta` loads. */
export const META = { mark: 3, iifname: 6, oifname: 7, protocol: 16 } as const;
/** Fields that `ct` loads. */
export const CT = { state: 0, status: 2 } as const;
/** Headers that `payload` loads from. */
export const HEADER = { network: 1, transport: 2 } as const;
/** Codes of verdicts; jump and goto name a chain. */
export const VERDICT_CODE = { drop: 0, accept: 1, continue: -1, jump: -3, goto: -4, return: -5 } as const;
/** NFTA_FIB_FLAGS and results. */
export const FIB = { saddr: 1, daddr: 2, mark: 4, iif: 8, oif: 16, resultOif: 1, resultType: 3 } as const;
/** Registers as nft gives them out: the first whole one, then 4-byte ones. */
export const FIRST_REGISTER = 1;
/** Register that starts `words` 4-byte words after the first. */
export function wordRegister(words: number): number {
  return words % 4 === 0 ? 1 + words / 4 : 8 + words;
}

/** One expression. Values are as the kernel compares them: host order for marks and states, network order for packets. */
export type Expression =
  /** See {@link constant}. */
  | { readonly kind: 'encoded'; readonly bytes: Buffer }
  | { readonly kind: 'meta'; readonly key: number; readonly register: number }
  | { readonly kind: 'set-mark' }
  | { readonly kind: 'ct'; readonly key: number }
  | {
      readonly kind: 'payload';
      readonly base: number;
      readonly offset: number;
      readonly length: number;
      readonly register: number;
    }
  | { readonly kind: 'compare'; readonly negated: boolean; readonly value: Buffer }
  | { readonly kind: 'bitwise'; readonly mask: Buffer; readonly xor: Buffer }
  | { readonly kind: 'lookup'; readonly set: string; readonly negated: boolean }
  | { readonly kind: 'verdict-map'; readonly map: string }
  | { readonly kind: 'fib'; readonly result: number; readonly flags: number }
  | { readonly kind: 'counter' }
  | { readonly kind: 'verdict'; readonly code: number; readonly chain?: string }
  | { readonly kind: 'masquerade'; readonly flags: number }
  | { readonly kind: 'notrack' }
  /** An extension of iptables, with its own struct (xt-structs.ts). */
  | { readonly kind: 'match' | 'target'; readonly name: string; readonly revision: number; readonly info: Buffer }
  | { readonly kind: 'limit'; readonly rate: number; readonly seconds: number; readonly burst: number }
  | { readonly kind: 'log'; readonly group: number; readonly prefix: string; readonly bytes: number };

const LIST_ELEMENT = 1;
const ZERO_COUNT = Buffer.alloc(8);
const EXPRESSION = { name: 1, data: 2 } as const;
const DATA = { value: 1, verdict: 2 } as const;
const VERDICT = { code: 1, chain: 2 } as const;

/** For one rule after the other: nothing awaits in between. */
const scratch = new MessageWriter(1024);

/** Expressions, each in its list container, as the value of a rule's expression attribute. */
export function encodeExpressions(expressions: readonly Expression[]): Buffer {
  scratch.clear();
  writeExpressions(scratch, expressions);
  return Buffer.from(scratch.finish());
}

/** Writes what {@link encodeExpressions} makes. */
export function writeExpressions(writer: MessageWriter, expressions: readonly Expression[]): void {
  for (const expression of expressions) encode(writer, expression);
}

/** Expressions that are the same in very many rules, as one: their bytes are made once. */
export function constant(...expressions: readonly Expression[]): Expression {
  return { kind: 'encoded', bytes: encodeExpressions(expressions) };
}

function wrap(writer: MessageWriter, name: string, content: (data: MessageWriter) => void): void {
  const element = writer.open(LIST_ELEMENT);
  const data = writer.attributeString(EXPRESSION.name, name).open(EXPRESSION.data);
  content(writer);
  writer.close(data).close(element);
}

/** Returns where the value is. */
function value(writer: MessageWriter, type: number, bytes: Buffer): number {
  const start = writer.length;
  writer.nested(type, (data) => data.attribute(DATA.value, bytes));
  return start + 2 * ATTRIBUTE_HEADER_LENGTH;
}

/** An expression but for its values, which are put in before each use. */
interface Model {
  readonly bytes: Buffer;
  readonly valueAt: number;
  readonly secondAt: number;
}

/** By the length of the value, twice, and one more if it is negated. Lengths are those of registers: a few. */
type Models = Map<number, Model>;
const COMPARES: Models = new Map();
const BITWISES: Models = new Map();

function modelOf(models: Models, negated: boolean, length: number): Model {
  const key = length * 2 + (negated ? 1 : 0);
  let model = models.get(key);
  if (model === undefined) {
    model = models === COMPARES ? compareModel(negated, length) : bitwiseModel(length);
    models.set(key, model);
  }
  return model;
}

function compareModel(negated: boolean, length: number): Model {
  const writer = new MessageWriter(128);
  let valueAt = 0;
  wrap(writer, 'cmp', (data) => {
    data.attributeU32Be(1, FIRST_REGISTER).attributeU32Be(2, negated ? 1 : 0);
    valueAt = value(data, 3, Buffer.alloc(length));
  });
  return { bytes: writer.finish(), valueAt, secondAt: 0 };
}

function bitwiseModel(length: number): Model {
  const writer = new MessageWriter(128);
  let valueAt = 0;
  let secondAt = 0;
  wrap(writer, 'bitwise', (data) => {
    data
      .attributeU32Be(1, FIRST_REGISTER)
      .attributeU32Be(2, FIRST_REGISTER)
      .attributeU32Be(6, 0)
      .attributeU32Be(3, length);
    valueAt = value(data, 4, Buffer.alloc(length));
    secondAt = value(data, 5, Buffer.alloc(length));
  });
  return { bytes: writer.finish(), valueAt, secondAt };
}

function encode(writer: MessageWriter, expression: Expression): void {
  switch (expression.kind) {
    case 'encoded':
      writer.bytes(expression.bytes);
      return;
    case 'meta':
      wrap(writer, 'meta', (data) => data.attributeU32Be(2, expression.key).attributeU32Be(1, expression.register));
      return;
    case 'set-mark':
      wrap(writer, 'meta', (data) => data.attributeU32Be(2, META.mark).attributeU32Be(3, FIRST_REGISTER));
      return;
    case 'ct':
      wrap(writer, 'ct', (data) => data.attributeU32Be(2, expression.key).attributeU32Be(1, FIRST_REGISTER));
      return;
    case 'payload':
      wrap(writer, 'payload', (data) =>
        data
          .attributeU32Be(1, expression.register)
          .attributeU32Be(2, expression.base)
          .attributeU32Be(3, expression.offset)
          .attributeU32Be(4, expression.length),
      );
      return;
    case 'compare': {
      const model = modelOf(COMPARES, expression.negated, expression.value.length);
      model.bytes.set(expression.value, model.valueAt);
      writer.bytes(model.bytes);
      return;
    }
    case 'bitwise': {
      const model = modelOf(BITWISES, false, expression.mask.length);
      model.bytes.set(expression.mask, model.valueAt);
      model.bytes.set(expression.xor, model.secondAt);
      writer.bytes(model.bytes);
      return;
    }
    case 'lookup':
      wrap(writer, 'lookup', (data) => {
        data.attributeString(1, expression.set).attributeU32Be(2, FIRST_REGISTER);
        if (expression.negated) data.attributeU32Be(5, 1);
      });
      return;
    case 'verdict-map':
      wrap(writer, 'lookup', (data) =>
        data.attributeString(1, expression.map).attributeU32Be(2, FIRST_REGISTER).attributeU32Be(3, 0),
      );
      return;
    case 'fib':
      wrap(writer, 'fib', (data) =>
        data.attributeU32Be(3, expression.flags).attributeU32Be(2, expression.result).attributeU32Be(1, FIRST_REGISTER),
      );
      return;
    case 'counter':
      wrap(writer, 'counter', (data) => data.attribute(1, ZERO_COUNT).attribute(2, ZERO_COUNT));
      return;
    case 'verdict':
      wrap(writer, 'immediate', (data) =>
        data.attributeU32Be(1, 0).nested(2, (container) =>
          container.nested(DATA.verdict, (verdict) => {
            verdict.attributeU32Be(VERDICT.code, expression.code);
            if (expression.chain !== undefined) verdict.attributeString(VERDICT.chain, expression.chain);
          }),
        ),
      );
      return;
    case 'masquerade':
      wrap(writer, 'masq', (data) => {
        if (expression.flags !== 0) data.attributeU32Be(1, expression.flags);
      });
      return;
    case 'notrack':
      writer.nested(LIST_ELEMENT, (element) => element.attributeString(EXPRESSION.name, 'notrack'));
      return;
    case 'match':
    case 'target':
    case 'limit':
    case 'log':
      encodeOfIptables(writer, expression);
  }
}

/** Expressions that iptables-nft writes and nft does not. */
function encodeOfIptables(
  writer: MessageWriter,
  expression: Extract<Expression, { kind: 'match' | 'target' | 'limit' | 'log' }>,
): void {
  switch (expression.kind) {
    case 'match':
    case 'target':
      wrap(writer, expression.kind, (data) =>
        data.attributeString(1, expression.name).attributeU32Be(2, expression.revision).attribute(3, expression.info),
      );
      return;
    case 'limit':
      wrap(writer, 'limit', (data) =>
        data
          .attribute(1, u64(expression.rate))
          .attribute(2, u64(expression.seconds))
          .attributeU32Be(3, expression.burst)
          .attributeU32Be(4, 0)
          .attributeU32Be(5, 0),
      );
      return;
    case 'log':
      wrap(writer, 'log', (data) =>
        data
          .attributeU16Be(1, expression.group)
          .attributeString(2, expression.prefix)
          .attributeU32Be(3, expression.bytes),
      );
  }
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}
