/** Calls that fail again when they are repeated, as something that they carry, or meet, is at fault: what is it? */
import { HitzeroError } from "../base/errors.ts";
import { isAway } from "./connection.ts";
import { isScriptFault } from "./load_scripts.ts";

/** Codes of the operating system, and SQLSTATEs. */
const FOREIGN_CODE = /^(?:E[A-Z]+|[0-9A-Z]{5})$/;
/** What Redis replies besides faults of scripts concerns the server. */
const REDIS_ERROR = /^(?:Reply|Redis|Parser|Abort|Interrupt|MaxRetriesPerRequest)Error$/;

/** Is it the fault of the call, and not of a server or a link? */
export function isCallFault(error: unknown): boolean {
  if (isScriptFault(error)) return true;
  if (!(error instanceof Error) || error instanceof HitzeroError || isAway(error)) return false;
  const { code } = error as { code?: unknown };
  return !REDIS_ERROR.test(error.name) && !(typeof code === "string" && FOREIGN_CODE.test(code));
}

/** Makes one call with all of them; if that fails by its own fault, calls with halves, until who is at fault stands alone. */
export async function callInHalves<T>(
  items: readonly T[],
  call: (items: readonly T[]) => Promise<void>,
  onRefused: (item: T, error: unknown) => Promise<void>,
): Promise<void> {
  if (items.length === 0) return;
  try {
    await call(items);
  } catch (error) {
    if (!isCallFault(error)) throw error;
    if (items.length === 1) return onRefused(items[0] as T, error);
    const half = items.length >> 1;
    await callInHalves(items.slice(0, half), call, onRefused);
    await callInHalves(items.slice(half), call, onRefused);
  }
}

/** Told of a run that a script refuses to carry on, and by which call; undefined: it is not known which run it was. */
export type OnRefused = (runId: string | undefined, call: string, error: unknown) => Promise<void>;

export const isNobodys: OnRefused = (_runId, _call, error) => Promise.reject(error);
