/** What to do about a partition that its supervisor cannot open. */

export const FOREIGN_HINT =
  "Point HITZERO_REDIS_URL and HITZERO_DATABASE_URL at servers of one installation, or set another HITZERO_NAMESPACE. " +
  "If that other database is gone for good: npx hitzero clear-redis";

/** By the code with which `closed_reason` begins. */
const CLOSED_HINTS: Record<string, string> = {
  HISTORY_LOST:
    "Was Redis flushed, restored from a copy, or run without append-only file? The record in Postgres is intact.",
  PARTITION_FENCED:
    "Another release of hitzero filled this namespace: run one release, or give this one another HITZERO_NAMESPACE.",
  REDIS_FOREIGN: FOREIGN_HINT,
};

/** For a `closed_reason`. */
export function closedHint(reason: string): string {
  return CLOSED_HINTS[reason.split(":", 1)[0] as string] ?? "The log of the supervisor says more.";
}
