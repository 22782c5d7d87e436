/** Refusals by the fence, as errors. */
import { HitzeroError } from "../base/errors.ts";
import type { PartitionKeys } from "./keys.ts";

/** The partition does not take this call: it is closed, or belongs to another epoch, server, release or database. */
export class FenceError extends HitzeroError {
  readonly why: "closed" | "layout" | "epoch" | "timeline" | "installation";

  constructor(partition: number, why: FenceError["why"], refused = fencedBy(partition, why)) {
    super(refused.code, refused.message, { hint: refused.hint, exitCode: 3 });
    this.why = why;
  }

  /** It does not pass by itself: another database or release uses the namespace. */
  get lasts(): boolean {
    return this.why === "installation" || this.why === "layout";
  }
}

function fencedBy(partition: number, why: FenceError["why"]) {
  return {
    code: "PARTITION_FENCED",
    message: `partition ${partition} refused the call (${why})`,
    hint:
      why === "layout"
        ? "Two releases of hitzero use this namespace: run one release, or give the other its own namespace."
        : "A running supervisor opens the partition after it compared Redis with the record.",
  };
}

/** The keys of this namespace belong to another database: nothing of them is touched. */
export class ForeignRedisError extends FenceError {
  constructor(keys: PartitionKeys, installation: string, found: string | null) {
    const owner = found === null ? "another installation" : `installation ${found}`;
    super(keys.partition, "installation", {
      code: "REDIS_FOREIGN",
      message: `the keys of namespace ${keys.namespace} in this Redis belong to ${owner}, this database is installation ${installation}`,
      hint:
        "Set HITZERO_REDIS_URL and HITZERO_DATABASE_URL to servers of one installation, or HITZERO_NAMESPACE to another name. " +
        `If that other database is gone for good: npx hitzero clear-redis --namespace ${keys.namespace}`,
    });
  }
}
