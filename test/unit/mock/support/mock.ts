// Shortcuts for tests: a mock of node1, resources as YAML text.
import { silentLogger } from '../../../../src/base/logger.js';
import { MockControlPlane } from '../../../../src/mock/control-plane.js';
import { parseDocuments } from '../../../../src/mock/documents.js';
import { type ApplyOutcome, problemText } from '../../../../src/mock/outcome.js';
import type { ToDataplanePayload } from '../../../../src/protocol/session.js';

export function newMock(config: Record<string, string> = {}): MockControlPlane {
  return new MockControlPlane({ hostname: 'node1', config, log: silentLogger });
}

/** Applies YAML text whatever becomes of it. */
export function applyText(mock: MockControlPlane, text: string): ApplyOutcome {
  const { documents, problems } = parseDocuments(text, 'test.yaml');
  const outcome = mock.apply(documents);
  return { ...outcome, problems: [...problems, ...outcome.problems] };
}

/** Applies YAML text that must be valid. */
export function applyValid(mock: MockControlPlane, text: string): void {
  const { problems } = applyText(mock, text);
  if (problems.length > 0) throw new Error(problems.map(problemText).join('\n'));
}

/** The problems of YAML text as printed. */
export function problemsOf(text: string): string[] {
  return applyText(newMock(), text).problems.map(problemText);
}

type Value<C extends ToDataplanePayload['case']> = Extract<ToDataplanePayload, { case: C }>['value'];

/** The values of all payloads of one case. */
export function valuesOf<C extends ToDataplanePayload['case']>(
  payloads: readonly ToDataplanePayload[],
  payloadCase: C,
): Value<C>[] {
  return payloads.filter((payload) => payload.case === payloadCase).map((payload) => payload.value as Value<C>);
}
