/** What a token's execution needs, from the reply that brought it; large values come from their blobs. */

import { assert } from "../../base/assert.ts";
import type { Log } from "../../base/log.ts";
import { pause } from "../../base/wait.ts";
import type { FinishedItem } from "../../redis/calls.ts";
import type { Partition } from "../../redis/partition.ts";
import type { HandedToken } from "../../redis/replies.ts";
import { FIELD, fieldOf } from "../../redis/run_state.ts";
import { storeItems } from "../../redis/scripts/store.ts";
import { ARRIVAL, OUTCOME, OUTPUT } from "../../token/letters.ts";
import type { IREdge } from "../../workflow/ir/ir.ts";
import { itemIndexOf } from "../../workflow/ir/scopes.ts";
import { BLOB_TTL_MS } from "../limits.ts";
import type { ItemReader } from "../nodes/map_items.ts";
import { whileAway } from "../while_away.ts";
import type { Performed } from "./finished_step.ts";
import { needOf, stateOf } from "./node_facts.ts";
import type { Slot, StoredOutput } from "./slot.ts";

/** What an execution's values are read with. */
export interface InputReader {
  partition: Partition;
  items: ItemReader;
  /** Aborted when nobody waits for them any more. */
  abandoned: AbortSignal;
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
  { ir, node, scope }: Slot,
  readFields: (fields: string[]) => Promise<(string | null)[]>,
): Promise<{ sources: number[]; outputs: (StoredOutput | null)[] }> {
  const incoming = node.in;
  const arrivals = await readFields(incoming.map((edge) => fieldOf(FIELD.arrival, edge, scope)));
  const sources = incoming.flatMap((edge, index) =>
    arrivals[index] === ARRIVAL.taken ? [(ir.edges[edge] as IREdge).from] : [],
  );
  return { sources, outputs: await readFields(sources.map((source) => needOf(ir, source, scope)[1])) };
}

/** State of an execution that ended its item, as seen from the one that it was followed by; undefined: they are of the same item. */
function stateOfFormerItem({ ir, nodeIndex, scope, place: former }: Slot, next: Slot): string | undefined {
  if (former === undefined || next.scope === "") return undefined;
  const place = itemIndexOf(ir, next.nodeIndex, next.scope);
  if (place === undefined) return undefined;
  if (former.map === place.map && former.scope === place.scope && former.index === place.index)
    return undefined;
  return stateOf(nodeIndex, scope)[1];
}

/** The output of the execution that handed it over, as if it had come with the token. */
function outputOf(origin: Slot | undefined): StoredOutput | undefined {
  const large = origin?.largeOutput;
  return large === undefined ? origin?.step?.output : OUTPUT.json + large;
}

const isBlob = (stored: StoredOutput | null): boolean => stored?.startsWith(OUTPUT.blob) ?? false;

/**
 * Fills in what came with a slot's token. `payloads` are the strings of the reply that brought it; `origin` is the execution whose step
 * handed it over: its output and the run's input did not come again.
 * @returns what of it is still to be read, @throws RedisAwayError; undefined: nothing
 */
export function takeInputs(
  slot: Slot,
  token: HandedToken,
  payloads: readonly string[],
  origin: Slot | undefined,
  reader: InputReader,
): Promise<void> | undefined {
  const given = (position: number): StoredOutput | null => {
    const stored = position === -1 ? outputOf(origin) : position === 0 ? undefined : payloads[position];
    return stored ?? null;
  };
  slot.sources = token.sources;
  slot.input = origin?.input ?? (payloads[token.input] as string).slice(1);
  slot.woken = token.woken === undefined ? undefined : (payloads[token.woken] as string);
  slot.losses = token.losses;
  slot.hops = origin === undefined ? 0 : origin.hops + 1;
  slot.since = origin?.since ?? performance.now();
  slot.follows = origin && stateOfFormerItem(origin, slot);
  slot.inputs = token.inputs.map(given);
  if (token.needs.length > 0) slot.needs = new Map(token.needs.map(([node, at]) => [node, given(at)]));
  const isWhole =
    !token.wide &&
    slot.place === undefined &&
    !slot.inputs.some(isBlob) &&
    (slot.needs.size === 0 || ![...slot.needs.values()].some(isBlob));
  return isWhole ? undefined : readInputs(slot, token.wide === true, reader);
}

async function readInputs(
  slot: Slot,
  isWide: boolean,
  { partition, items, abandoned }: InputReader,
): Promise<void> {
  const { runId } = slot;
  const readBlob = (name: string) => readStoredBlob(partition, runId, name, abandoned);
  const load = async (stored: StoredOutput | null): Promise<StoredOutput | null> =>
    isBlob(stored) ? OUTPUT.json + (await readBlob((stored as string).slice(1))) : stored;
  if (isWide) {
    const wide = await readWideJoin(slot, (fields) =>
      whileAway({ signal: abandoned }, () => partition.readFields(runId, fields)),
    );
    slot.sources = wide.sources;
    slot.inputs = wide.outputs;
  }
  slot.item = await items.itemOf(slot, readBlob);
  slot.inputs = await Promise.all(slot.inputs.map(load));
  if (slot.needs.size === 0) return;
  const needs = [...slot.needs].map(async ([node, stored]) => [node, await load(stored)] as const);
  slot.needs = new Map(await Promise.all(needs));
}

/**
 * Stores a large output before the step that refers to it, as often as it takes (Redis may be away, or out of memory). False when the
 * worker gave up first: the execution is then left to its lease.
 */
export async function storeOutput(
  partition: Partition,
  step: FinishedItem,
  { name, value }: Performed["blobs"][number],
  log: Log,
  abandoned: AbortSignal,
): Promise<boolean> {
  const { runId } = step;
  while (!abandoned.aborted) {
    try {
      // What waits stores items; those may be added to later, under the same name.
      if (step.outcome === OUTCOME.waiting) await storeItems(partition, step, name, value, BLOB_TTL_MS);
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
