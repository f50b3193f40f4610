// Kubernetes quantities such as `10M`, `4Gi`, `1.5k` or `2e3`.

const SUFFIXES: Readonly<Record<string, number>> = {
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};

/** The value rounded up to a whole number; undefined if the text is no quantity. */
export function parseQuantity(text: string): number | undefined {
  const parts = /^([+-]?(?:\d+\.?\d*|\.\d+))(?:[eE]([+-]?\d+)|(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?)$/.exec(text);
  if (parts === null) return undefined;
  const exponent = parts[2] === undefined ? 1 : 10 ** Number(parts[2]);
  const scaled = Number(parts[1]) * exponent * (SUFFIXES[parts[3] ?? ''] ?? 1);
  // 1.01 * 1e15 is not whole in binary; what is nearer than a millionth to a whole number is that number.
  const nearest = Math.round(scaled);
  return Math.abs(scaled - nearest) < 1e-6 * Math.max(1, Math.abs(scaled) * 1e-6) ? nearest : Math.ceil(scaled);
}
