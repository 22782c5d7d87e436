/**
 * How much memory of Redis a waiting token, its run, and the journal of a step take.
 *
 * Runs are submitted while no worker is there, so that their tokens wait; then performed while no supervisor is there, so that
 * the journal is not trimmed; then recorded.
 */
import { pause } from "../src/base/wait.ts";
import { PartitionKeys } from "../src/redis/keys.ts";
import type { Ledger } from "./ledger.ts";
import { checkRecord, untilAllFinal } from "./record_check.ts";
import { NAMESPACE, type Rig } from "./rig.ts";
import type { Workload } from "./workloads.ts";

export interface Sizes {
  /** Waiting runs of which the numbers are means. */
  runs: number;
  /** Text of a token. */
  token_bytes: number;
  /** Its share of the stream. */
  token_in_stream_bytes: number;
  /** State of a run of one step waiting, without the token. */
  waiting_run_bytes: number;
  /** Text of the journal for one step. */
  journal_bytes_per_step: number;
  /** Its share of the stream. */
  journal_in_stream_bytes_per_step: number;
}

const POLL_MS = 20;
const LOOKED_AT = 100;
const PERFORM_LIMIT_MS = 120_000;

/** Stops the rig's workers and supervisor; the supervisor runs again afterwards. */
export async function measureSizes(rig: Rig, ledger: Ledger, workload: Workload): Promise<Sizes> {
  const { runs, steps } = workload;
  const workflow = await rig.client.register(workload.document("sizes"));
  const { rows } = await rig.database.query<{ epoch: string }>("select epoch from hitzero.partitions");
  const keys = new PartitionKeys(NAMESPACE, 0, String(rows[0]?.epoch));
  const ready = keys.ready("default");
  const { journal } = keys;
  await rig.stopWorkers();
  await rig.stopSupervisor();

  const emptyReady = await streamBytes(rig, ready);
  const { runIds } = await rig.client.submit(workflow, { count: runs, input: {} });
  const tokens = await rig.redis.xrange(ready, "-", "+", "COUNT", LOOKED_AT);
  const inStream = (await streamBytes(rig, ready)) - emptyReady;
  const states = await Promise.all(
    runIds.slice(0, LOOKED_AT).map((runId) => rig.redis.memory("USAGE", keys.run(runId))),
  );

  const [begun, begunBytes] = [await lastId(rig, journal), await streamBytes(rig, journal)];
  await rig.startWorkers();
  await untilPerformed(rig, ready, keys.leases);
  const performedBytes = await streamBytes(rig, journal);
  const entries = await rig.redis.xrange(journal, `(${begun}`, "+");
  await rig.stopWorkers();

  await rig.startSupervisor();
  await untilAllFinal(rig, POLL_MS);
  const expected = { runs, steps: runs * steps };
  ledger.add(expected);
  await checkRecord(rig, expected, "sizes", workload.count);
  return {
    runs,
    token_bytes: textBytes(tokens) / tokens.length,
    token_in_stream_bytes: inStream / runs,
    waiting_run_bytes: states.reduce<number>((total, bytes) => total + (bytes ?? 0), 0) / states.length,
    journal_bytes_per_step: textBytes(entries) / (runs * steps),
    journal_in_stream_bytes_per_step: (performedBytes - begunBytes) / (runs * steps),
  };
}

/** No token waits and none is held. */
async function untilPerformed(rig: Rig, ready: string, leases: string): Promise<void> {
  const limit = Date.now() + PERFORM_LIMIT_MS;
  while (Date.now() < limit) {
    const counts = await rig.redis.multi().xlen(ready).zcard(leases).exec();
    if (counts?.every(([, count]) => count === 0)) return;
    await pause(POLL_MS);
  }
  throw new Error(`tokens are left after ${PERFORM_LIMIT_MS / 1_000} s`);
}

async function streamBytes(rig: Rig, key: string): Promise<number> {
  return (await rig.redis.memory("USAGE", key, "SAMPLES", 0)) ?? 0;
}

async function lastId(rig: Rig, journal: string): Promise<string> {
  const [last] = await rig.redis.xrevrange(journal, "+", "-", "COUNT", 1);
  return last?.[0] ?? "0-0";
}

function textBytes(entries: readonly [id: string, fields: string[]][]): number {
  return entries.flatMap(([, fields]) => fields).reduce((total, text) => total + Buffer.byteLength(text), 0);
}
