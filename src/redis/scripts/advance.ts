/** The atomic step, for whatever there is (lua/advance.lua); `step.ts` has the one for plain executions. */
import type { IR } from "../../workflow/ir/ir.ts";
import type { AdvanceCall, ClaimItem, FinishedItem, SettleItem } from "../calls.ts";
import { KeyList } from "../key_list.ts";
import { functionField, type PartitionKeys } from "../keys.ts";
import type { Partition } from "../partition.ts";
import { type AdvanceReply, advanceReply } from "../replies.ts";
import { stepCall, suspectStreamsOf } from "../step_call.ts";

/** The atomic step. The reply's payloads are the strings behind it, by position. */
export async function callAdvance(
  partition: Partition,
  call: AdvanceCall,
): Promise<{ reply: AdvanceReply; payloads: string[] }> {
  const { keys, limits: most } = partition;
  const list = new KeyList([keys.meta, keys.journal, keys.leases, keys.timers]);
  const args = [""];
  const push = (value: string) => args.push(value);
  const irs = new Set<IR>();
  for (const { ir } of call.finished) irs.add(ir);
  for (const { ir } of call.claims) irs.add(ir);
  const { nudge, limit, limits, queues } = stepCall(list, { keys, limits: most }, irs);
  // What was handed out again may be suspect.
  const again = call.claims.flatMap(({ item }) => (item.delivery > 1 ? [item.queue] : []));
  const moves = call.claims.some(({ item }) => item.unoffered !== undefined);
  const json = {
    worker: call.worker,
    lease_ms: call.leaseMs,
    take: call.take,
    nudge,
    limit,
    limits,
    queues: again.length === 0 ? queues : { ...queues, ...suspectStreamsOf(list, keys, again) },
    reads: Object.fromEntries(call.reads.map((queue) => [queue, true])),
    finished: call.finished.map(({ item }) => finishedPart(keys, list, push, item)),
    claims: call.claims.map(({ item }) => claimPart(keys, list, item)),
    functions: moves ? list.position(keys.functions) : undefined,
    most_functions: moves ? most.functionStreams : undefined,
    ...(await partition.fence(keys)),
  };
  args[0] = JSON.stringify(json);
  const payloads = await partition.callStep("advance", list.keys, args);
  return { reply: partition.parse(payloads, advanceReply), payloads };
}

function finishedPart(
  keys: PartitionKeys,
  list: KeyList,
  push: (value: string) => number,
  item: FinishedItem | SettleItem,
) {
  const run = list.position(keys.run(item.runId));
  const ir = list.position(keys.ir(item.digest));
  const parked = item.limited ? list.position(keys.parked(item.runId)) : undefined;
  const scopes = item.mapped ? list.position(keys.scopes(item.runId)) : undefined;
  if ("work" in item) {
    const stream = list.position(keys.ready(item.queue));
    const { runId: id, generation: g, work: settle, entry } = item;
    return { run, ir, parked, scopes, id, g, settle, stream, entry };
  }
  const { park } = item;
  return {
    run,
    ir,
    parked,
    scopes,
    id: item.runId,
    g: item.generation,
    queue: item.queue,
    node: item.node,
    scope: item.scope,
    attempt: item.attempt,
    delivery: item.delivery,
    nonce: item.nonce,
    due: item.due ?? park?.due,
    park: park?.kind,
    signal: park?.signal,
    total: park?.total,
    closes: park?.closes,
    stops: park?.stops,
    blobs: park?.blobs?.map((name) => list.position(keys.blob(item.runId, name))),
    outcome: item.outcome,
    arrivals: item.arrivals,
    unhandled: item.unhandled || undefined,
    hand: item.hand || undefined,
    hand_items: item.handItems || undefined,
    unoffered: item.unoffered?.length ? item.unoffered : undefined,
    forgets: item.forgets,
    halt: item.halt ? "fail_fast" : undefined,
    again: item.again || undefined,
    keep_at: item.keepAt,
    ends_item: item.endsItem || undefined,
    withdraws: item.withdraws || undefined,
    waits: item.waits || undefined,
    guarded: item.guarded || undefined,
    compensation: item.compensation,
    needs: Object.keys(item.needs).length > 0 ? item.needs : undefined,
    detail: push(JSON.stringify(item.detail)),
    output: push(item.output),
    journal_output: item.outputInJournal || undefined,
    keep: item.keep || undefined,
    blob: item.blob === undefined ? undefined : list.position(keys.blob(item.runId, item.blob)),
  };
}

function claimPart(keys: PartitionKeys, list: KeyList, item: ClaimItem) {
  const { unoffered } = item;
  const moves = unoffered === undefined ? undefined : { ...item, functionName: unoffered };
  return {
    run: list.position(keys.run(item.runId)),
    ir: list.position(keys.ir(item.digest)),
    parked: item.limited ? list.position(keys.parked(item.runId)) : undefined,
    scopes: item.mapped ? list.position(keys.scopes(item.runId)) : undefined,
    id: item.runId,
    g: item.generation,
    node: item.node,
    scope: item.scope,
    attempt: item.attempt,
    delivery: item.delivery,
    nonce: item.nonce,
    queue: item.queue,
    stream: list.position(keys.stream(item)),
    entry: item.entry,
    alone: item.suspects || undefined,
    // Where a token goes whose function its worker does not offer: suspects to their own.
    moves_to: moves && list.position(keys.stream(moves)),
    function: moves && functionField(moves),
    needs: item.needs.length > 0 ? item.needs : undefined,
    waits: item.waits || undefined,
    withdraws: item.withdraws || undefined,
    guarded: item.guarded || undefined,
    unless: item.unless,
  };
}
