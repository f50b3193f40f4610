// Rules of dispatch chains, `--in-interface cali1 --goto cali-fw-cali1`, without the compiler: a pod that comes or goes
// has hundreds of them written anew. Their bytes are those of a model with names of the same lengths.
import { encodeExpressions, FIRST_REGISTER, META, VERDICT_CODE } from '../../kernel/netlink/nf-expressions.js';
import { isChainName } from './rule-targets.js';

const DISPATCH = /^--(in|out)-interface ([A-Za-z0-9_.-]{1,15}) --goto (cali-[^ "'\\]+)$/;
const PRINTABLE = /^[!-~]+$/;

interface Model {
  readonly bytes: Buffer;
  readonly nameAt: number;
}

const MODELS = { in: new Map<number, Model>(), out: new Map<number, Model>(), goto: new Map<number, Model>() };

function makeModel(kind: keyof typeof MODELS, length: number): Model {
  const name = '?'.repeat(length);
  const bytes = encodeExpressions(
    kind === 'goto'
      ? [{ kind: 'counter' }, { kind: 'verdict', code: VERDICT_CODE.goto, chain: name }]
      : [
          { kind: 'meta', key: kind === 'in' ? META.iifname : META.oifname, register: FIRST_REGISTER },
          { kind: 'compare', negated: false, value: Buffer.from(`${name}\0`, 'latin1') },
        ],
  );
  return { bytes, nameAt: bytes.indexOf(`${name}\0`, 0, 'latin1') };
}

function named(kind: keyof typeof MODELS, name: string): Buffer {
  let model = MODELS[kind].get(name.length);
  if (model === undefined) {
    model = makeModel(kind, name.length);
    MODELS[kind].set(name.length, model);
  }
  const bytes = Buffer.from(model.bytes);
  bytes.write(name, model.nameAt, 'latin1');
  return bytes;
}

/** The two parts of a rule of this form, as the compiler and the encoder make them; null for any other rule. */
export function dispatchRule(body: string): { readonly before: Buffer; readonly after: Buffer } | null {
  const match = DISPATCH.exec(body);
  if (match === null) return null;
  const [, side, name = '', chain = ''] = match;
  if (!isChainName(chain) || !PRINTABLE.test(chain)) return null;
  return { before: named(side === 'in' ? 'in' : 'out', name), after: named('goto', chain) };
}
