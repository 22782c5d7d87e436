/** Waiting for what becomes of runs and commands. The record is the truth; announcements only save waiting. */
import { z } from "zod";
import type { HitzeroError } from "../../base/errors.ts";
import { Bell, pause } from "../../base/wait.ts";
import { commandOutcome } from "../../postgres/commands.ts";
import { countFinal, getRun, type RunRow } from "../../postgres/runs.ts";
import type { RedisConnection } from "../../redis/connection.ts";
import { stateChannel } from "../../redis/keys.ts";
import { isFinalRunStatus } from "../../token/lifecycle.ts";
import type { StateChange } from "../reader/record_types.ts";
import type { Connections } from "./connections.ts";

/** The record is looked at so often at least, whatever is announced. */
const LOOK_MS = 1_000;
/** What is on record is announced within this time, or never. */
const ANNOUNCED_MS = 1_000;

const stateChange: z.ZodType<StateChange> = z.looseObject({
  instance_id: z.string(),
  node_id: z.string().optional(),
  scope: z.string().optional(),
  previous_state: z.string(),
  new_state: z.string(),
  reason: z.string().nullable(),
  timestamp: z.string(),
  duration_ms: z.number().optional(),
}) as never;

/** See `Client.wait`. @throws HitzeroError RUN_NOT_FOUND */
export async function waitForRun(
  { record, redis }: Connections,
  runId: string,
  options: { onChange?: (change: StateChange) => void; signal?: AbortSignal },
): Promise<RunRow> {
  const bell = new Bell();
  let heardEnd = false;
  const listener = await hear(redis, runId, (change) => {
    options.onChange?.(change);
    if (change.node_id !== undefined) return;
    heardEnd ||= isFinalRunStatus(change.new_state as RunRow["status"]);
    bell.ring();
  });
  try {
    for (let waited = false; ; waited = true) {
      const run = await getRun(record, runId);
      const isOver = isFinalRunStatus(run.status);
      // Changes are announced after their commit: who listens hears of the last ones, too.
      if (isOver && waited && options.onChange && listener && !heardEnd)
        await bell.rungWithin(ANNOUNCED_MS, options.signal);
      if (isOver || options.signal?.aborted) return run;
      await bell.rungWithin(LOOK_MS, options.signal);
    }
  } finally {
    listener?.close();
  }
}

/** Hears of a run's changes, on a connection of its own; undefined while Redis is away. */
async function hear(
  redis: RedisConnection,
  runId: string,
  onChange: (change: StateChange) => void,
): Promise<RedisConnection | undefined> {
  let listener: RedisConnection | undefined;
  try {
    listener = await redis.duplicate();
    await listener.subscribe(stateChannel(runId), (message) => {
      const change = stateChange.safeParse(JSON.parse(message));
      if (change.success) onChange(change.data);
    });
    return listener;
  } catch (error) {
    listener?.close();
    if ((error as HitzeroError).exitCode === 3) return undefined;
    throw error;
  }
}

/** See `Client.waitAll`. */
export async function waitForRuns(
  { record }: Connections,
  runIds: readonly string[],
  options: { onProgress?: (final: number) => void; signal?: AbortSignal; pollMs?: number },
): Promise<Record<string, number>> {
  for (;;) {
    const counts = await countFinal(record, runIds);
    const final = Object.values(counts).reduce((total, count) => total + count, 0);
    options.onProgress?.(final);
    if (final === runIds.length || options.signal?.aborted) return counts;
    await pause(options.pollMs ?? 100, options.signal);
  }
}

/** See `Client.waitForCommand`. */
export async function waitForCommand(
  { record }: Connections,
  commandId: string,
  options: { signal?: AbortSignal; pollMs?: number },
): Promise<string | undefined> {
  for (;;) {
    const outcome = await commandOutcome(record, commandId);
    if (outcome !== undefined || options.signal?.aborted) return outcome;
    await pause(options.pollMs ?? 50, options.signal);
  }
}
