/**
 * Whose fault is an error: of what was asked for, which fails each time it is repeated, or of a server that is away, full, read-only
 * or another's by now, which is waited for? The reader and the workers set aside, or fail, only what is at fault itself.
 */
import { HitzeroError } from "../base/errors.ts";
import { isDataFault } from "../postgres/database.ts";
import { isCallFault } from "../redis/call_fault.ts";

/** SQLSTATEs, besides those of data faults, by which Postgres refuses a statement for what is in it. */
const REFUSED = /^(?:21|2F|38|39|44|P0)...$/;
/** It was too much, or met another at a bad moment; when that is so each time, it is at fault itself. */
const DOUBTFUL = /^(?:40...|53200|55P03|57014|XX000)$/;
export function isOwnFault(error: unknown): boolean {
  if (error instanceof HitzeroError) return error.exitCode !== 3 || REFUSED.test(sqlStateOf(error));
  return isDataFault(error) || isCallFault(error);
}

/** Is it at fault itself if it fails like this time after time? */
export function isDoubtful(error: unknown): boolean {
  return DOUBTFUL.test(sqlStateOf(error));
}

/** Its code of five characters; empty: Postgres has not given any. */
function sqlStateOf(error: unknown): string {
  const { code, cause } = (error ?? {}) as { code?: unknown; cause?: unknown };
  if (error instanceof HitzeroError) return cause === undefined ? "" : sqlStateOf(cause);
  return typeof code === "string" ? code : "";
}

/** Kind and message in one line: `22P05: unsupported Unicode escape sequence`. */
export function faultText(error: unknown): string {
  const { code, name, message } = (error ?? {}) as { code?: unknown; name?: unknown; message?: unknown };
  return `${typeof code === "string" ? code : (name ?? "error")}: ${message ?? String(error)}`;
}
