/**
 * Trigger rules: what the arrivals at a node decide. The script `lua/lib/settle.lua` applies the same table at run time; a
 * test runs both over all counts. Firing may be early; skipping waits until all arrivals are in.
 */
import type { EdgeOn, TriggerRule } from "../workflow/ir/ir.ts";

/** What a resolved execution sends along an edge. */
export type Arrival = "taken" | "not_taken" | "failed";

/** Why a node was skipped. */
export type SkipReason = "upstream_failed" | "not_taken";

export interface ArrivalCounts {
  taken: number;
  notTaken: number;
  failed: number;
}

export type Verdict = { kind: "wait" } | { kind: "fire" } | { kind: "skip"; reason: SkipReason };

const WAIT: Verdict = { kind: "wait" };
const FIRE: Verdict = { kind: "fire" };
const SKIP_NOT_TAKEN: Verdict = { kind: "skip", reason: "not_taken" };
const SKIP_UPSTREAM_FAILED: Verdict = { kind: "skip", reason: "upstream_failed" };

/** What the arrivals so far decide for a node of static fan-in `fanIn`. */
export function decide(rule: TriggerRule, fanIn: number, counts: ArrivalCounts): Verdict {
  const { taken, notTaken, failed } = counts;
  if (rule === "one_success" && taken > 0) return FIRE;
  if (rule === "one_failed" && failed > 0) return FIRE;
  if (typeof rule === "object" && taken >= rule.quorum) return FIRE;
  if (taken + notTaken + failed < fanIn) return WAIT;
  if (rule === "all_done") return FIRE;
  if (rule === "all_failed") return failed === fanIn ? FIRE : SKIP_NOT_TAKEN;
  if (rule === "one_failed") return SKIP_NOT_TAKEN;
  if (failed > 0) return SKIP_UPSTREAM_FAILED;
  if (rule === "none_failed") return FIRE;
  const enough = rule === "all_success" ? taken === fanIn : typeof rule !== "object" && taken > 0;
  return enough ? FIRE : SKIP_NOT_TAKEN;
}

/** What a skipped node sends along an edge (dead-path elimination). */
export function skippedArrival(reason: SkipReason, on: EdgeOn): Arrival {
  return reason === "upstream_failed" && on !== "failure" ? "failed" : "not_taken";
}
