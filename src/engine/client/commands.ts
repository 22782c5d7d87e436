/** Giving commands and signals to runs: each is a row in `commands` before it is acknowledged. */
import { validate } from "uuid";
import { HitzeroError } from "../../base/errors.ts";
import { encodeJson } from "../../base/json.ts";
import {
  acceptCommand,
  commandOutcome,
  type SignalContent,
  type UserCommand,
} from "../../postgres/commands.ts";
import { getRun } from "../../postgres/runs.ts";
import { findVersion } from "../../postgres/workflows.ts";
import { nudgeReader } from "../../redis/scripts/nudge.ts";
import { isFinalRunStatus } from "../../token/lifecycle.ts";
import { checkText, TEXT_LIMITS } from "../checked_texts.ts";
import { MAX_INPUT_BYTES, MAX_JSON_DEPTH } from "../limits.ts";
import { checkSignal } from "../nodes/signals.ts";
import type { Connections } from "./connections.ts";

/** See `Client.command`. */
export async function giveCommand(
  { record, partition }: Connections,
  runId: string,
  command: { kind: UserCommand; commandId: string; signal?: SignalContent },
): Promise<{ commandId: string }> {
  const { commandId } = command;
  const run = await getRun(record, runId);
  if (isFinalRunStatus(run.status)) {
    // Given again under its id after it took effect, as by somebody who did not hear the answer.
    if ((await commandOutcome(record, commandId)) === "applied") return { commandId };
    throw new HitzeroError("RUN_FINAL", `run ${runId} is over: it is ${run.status}`, {
      hint: "A final status never changes.",
    });
  }
  await acceptCommand(record, { ...command, runId, partition: run.partition });
  const its = partition(run.partition);
  // The reader finds the row by itself within a second; this only saves the wait.
  if (its) await nudgeReader(its).catch(() => {});
  return { commandId };
}

/** See `Client.signal`. */
export async function giveSignal(
  connections: Connections,
  runId: string,
  signal: SignalContent,
  signalId: string,
): Promise<{ commandId: string }> {
  checkText("the signal's name", signal.name, TEXT_LIMITS.signal);
  if (signal.by !== undefined) checkText("by", signal.by, TEXT_LIMITS.by);
  if (signal.scope !== undefined) checkText("the scope", signal.scope, TEXT_LIMITS.scope, true);
  if (!validate(signalId))
    throw new HitzeroError("BAD_TEXT", "the signal's id is no UUID", {
      hint: "Leave it out, or give a UUID.",
    });
  const { workflow_name, workflow_version } = await getRun(connections.record, runId);
  const { ir } = await findVersion(connections.record, workflow_name, workflow_version);
  encodeJson(signal.payload, {
    maxBytes: MAX_INPUT_BYTES,
    maxDepth: MAX_JSON_DEPTH,
    what: `the payload of signal ${signal.name}`,
  });
  checkSignal(ir, signal);
  return giveCommand(connections, runId, { kind: "signal", commandId: signalId, signal });
}
