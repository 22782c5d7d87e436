/** From a token that was handed to this worker to an execution with all that it needs; large values come from their blobs. */
import { assert } from "../../base/assert.ts";
import type { Log } from "../../base/log.ts";
import { pause } from "../../base/wait.ts";
import type { Partition } from "../../redis/partition.ts";
import type { HandedToken } from "../../redis/replies.ts";
import { ARRIVAL, OUTCOME, OUTPUT } from "../../token/letters.ts";
import type { IR, IREdge, IRNode } from "../../workflow/ir/ir.ts";
import { BLOB_TTL_MS } from "../limits.ts";
import type { ItemReader } from "../nodes/map_items.ts";
import { whileAway } from "../while_away.ts";
import type { Performed } from "./finished_item.ts";
import { type HeldExecution, needOf, type StoredOutput, stateOfFormerItem } from "./held.ts";

/** The execution whose step brought a handed-over token: its output and the run's input need not come back. */
export interface Origin {
  held: HeldExecution;
  /** Its token, as the worker's list of what it holds has it. */
  kept: string;
  output: StoredOutput;
  /** It is the failure of an execution whose step was refused. */
  refused?: boolean;
}

/** @throws RedisAwayError when the worker gives up */
export async function readStoredBlob(
  partition: Partition,
  runId: string,
  name: string,
  abandoned: AbortSignal,
): Promise<string> {
  const blob = await whileAway({ signal: abandoned }, () => partition.readBlob(runId, name));
  assert(blob !== null, `blob ${name} of run ${runId} is gone`);
  return blob;
}

/** What a wide join ran on: the sources of its taken arrivals, which stay as they were when it fired, and their outputs. */
async function readWideJoin(
  { node, scope }: HandedToken,
  ir: IR,
  readFields: (fields: string[]) => Promise<(string | null)[]>,
): Promise<{ sources: number[]; outputs: (StoredOutput | null)[] }> {
  const incoming = (ir.nodes[node] as IRNode).in;
  const at = scope === "" ? "" : `@${scope}`;
  const arrivals = await readFields(incoming.map((edge) => `e${edge}${at}`));
  const sources = incoming.flatMap((edge, index) =>
    arrivals[index] === ARRIVAL.taken ? [(ir.edges[edge] as IREdge).from] : [],
  );
  return { sources, outputs: await readFields(sources.map((source) => needOf(ir, source, scope)[1])) };
}

/** The execution of a token. `payloads` are the strings of the reply that brought it. @throws RedisAwayError */
export async function executionOf(
  token: HandedToken,
  payloads: readonly string[],
  ir: IR,
  origin: Origin | undefined,
  partition: Partition,
  items: ItemReader,
  abandoned: AbortSignal,
): Promise<HeldExecution> {
  const load = async (stored: StoredOutput | null | undefined): Promise<StoredOutput | null> => {
    if (stored === undefined || stored === null) return null;
    if (!stored.startsWith(OUTPUT.blob)) return stored;
    return `${OUTPUT.json}${await readStoredBlob(partition, token.id, stored.slice(1), abandoned)}`;
  };
  const read = (position: number) =>
    load(position === -1 ? origin?.output : position === 0 ? undefined : payloads[position]);
  const wide = token.wide
    ? await readWideJoin(token, ir, (fields) =>
        whileAway({ signal: abandoned }, () => partition.readFields(token.id, fields)),
      )
    : undefined;
  const needs = token.needs.map(async ([node, at]) => [node, await read(at)] as const);
  const place = { ir, nodeIndex: token.node, scope: token.scope, runId: token.id };
  const item = await items.itemOf(place, (name) => readStoredBlob(partition, token.id, name, abandoned));
  const follows = origin && stateOfFormerItem(origin.held, token);
  return {
    runId: token.id,
    generation: token.g,
    digest: token.digest,
    ir,
    nodeIndex: token.node,
    scope: token.scope,
    attempt: token.attempt,
    delivery: token.delivery,
    nonce: token.nonce,
    sources: wide?.sources ?? token.sources,
    inputs: await Promise.all(wide ? wide.outputs.map(load) : token.inputs.map(read)),
    needs: new Map(await Promise.all(needs)),
    input: origin?.held.input ?? (payloads[token.input] as string).slice(1),
    ...(item === undefined ? {} : { item }),
    ...(token.woken === undefined ? {} : { woken: payloads[token.woken] as string }),
    ...(token.losses === undefined ? {} : { losses: token.losses }),
    hops: origin ? origin.held.hops + 1 : 0,
    since: origin?.held.since ?? performance.now(),
    ...(follows === undefined ? {} : { follows }),
  };
}

/**
 * Stores a large output before the step that refers to it, as often as it takes (Redis may be away, or out of memory). False when the
 * worker gave up first: the execution is then left to its lease.
 */
export async function storeOutput(
  partition: Partition,
  { item }: Pick<Performed, "item">,
  { name, value }: Performed["blobs"][number],
  log: Log,
  abandoned: AbortSignal,
): Promise<boolean> {
  const { runId } = item;
  while (!abandoned.aborted) {
    try {
      // What waits stores items; those may be added to later, under the same name.
      if (item.outcome === OUTCOME.waiting) await partition.storeItems(item, name, value, BLOB_TTL_MS);
      else await partition.storeBlob(runId, name, value, BLOB_TTL_MS);
      return true;
    } catch (error) {
      log.warn({ run_id: runId, error: String(error) }, "a large output cannot be stored; it is tried again");
      await pause(500, abandoned);
      // The partition may have been opened again meanwhile.
      await partition.refresh().catch(() => {});
    }
  }
  return false;
}
