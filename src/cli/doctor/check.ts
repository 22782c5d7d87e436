/** What `doctor` looked at, and what it found. */

export type CheckStatus = "ok" | "warn" | "fail";

export interface Check {
  /** What belongs together: node, redis, postgres, schema, partitions, processes, work. */
  area: string;
  name: string;
  status: CheckStatus;
  message: string;
  /** What to do; empty when nothing is wrong. */
  hint: string;
}

/** Makes checks of one area. */
export function checksOf(area: string) {
  const check =
    (status: CheckStatus) =>
    (name: string, message: string, hint = ""): Check => ({ area, name, status, message, hint });
  return { ok: check("ok"), warn: check("warn"), fail: check("fail") };
}
