/**
 * What calls off executions under way: the run was halted, nobody wants them any more, another worker has them, this one stops. Their
 * handlers are told so by their signals; what they come to then says the reason.
 */
import { HitzeroError } from "../../base/errors.ts";
import type { Withdrawn } from "../../redis/announcements.ts";
import { fatesOf } from "../../redis/fates.ts";
import { LEASE_LOST, RUN_HALTED, WORKER_STOPS } from "./execute.ts";
import type { Running } from "./executions.ts";
import type { Lane } from "./lane.ts";
import type { Slot } from "./slot.ts";

/** Tells the handlers of a halted run to stop, but for what undoes its work. */
export function halt(running: Iterable<Slot>, runId: string): void {
  for (const slot of running) if (slot.runId === runId && !slot.facts.isCompensation) callOff(slot, "halted");
}

export function withdraw(running: Iterable<Slot>, { runId, node, scope }: Withdrawn): void {
  for (const slot of running)
    if (slot.runId === runId && slot.nodeIndex === node && slot.scope === scope) callOff(slot, "withdrawn");
}

/** The announcement of a halt or a withdrawal may have been missed. */
export async function lookAround(running: Running, { partition }: Lane): Promise<void> {
  const slots = [...running].filter((slot) => slot.partition === partition.number);
  const fates = await fatesOf(
    partition,
    slots.map((slot) => {
      const { runId, nonce, delivery, lifelines } = slot;
      return { runId, nonce, delivery, own: lifelines.own, maps: lifelines.maps };
    }),
  );
  slots.forEach((slot, index) => {
    if (fates[index] === "halted") callOff(slot, "halted");
    else if (fates[index] === "withdrawn" && running.has(slot)) callOff(slot, "withdrawn");
  });
}

const REASONS = {
  halted: { code: RUN_HALTED, message: "the run was halted" },
  withdrawn: { code: "WITHDRAWN", message: "this execution is no longer wanted" },
  lost: { code: LEASE_LOST, message: "this execution may be another worker's by now" },
  stops: { code: WORKER_STOPS, message: "the worker stops; this execution is handed out again" },
} as const;

/** Tells its handler to stop. */
export function callOff(slot: Slot, why: keyof typeof REASONS): void {
  const { code, message } = REASONS[why];
  slot.lose(new HitzeroError(code, message));
}
