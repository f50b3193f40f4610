// Two ways for ipset to fail: it said no to what we asked, or it did not work at all.
import { ToolError } from '../base/errors.js';

const NOT_STARTED = 127;

/**
 * Whether the tool itself failed (missing, killed, timed out, runner gone), so that no object can be blamed and the
 * documented limit of attempts counts; false when it ran and refused something.
 */
export function isToolBroken(error: unknown): boolean {
  if (!(error instanceof ToolError)) return true;
  return error.failure.exitCode === null || error.failure.exitCode === NOT_STARTED;
}
