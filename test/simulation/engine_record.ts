/** Reads from Postgres what the engine recorded of runs, in the terms of the comparison. */
import type { RecordedMoment, RecordedNode, RunRecord } from "./compare.ts";
import type { Json } from "./expression.ts";
import { keyOf } from "./reference_scopes.ts";
import type { Signal } from "./reference_signals.ts";

export interface RecordedEvent {
  run_id: string;
  seq: number;
  event_type: string;
  node_id: string | null;
  scope: string | null;
  /** Of an execution's own events, where the record tells. */
  attempt: number | null;
  delivery: number | null;
  /** ms since 1970. */
  at: number;
  due: string | null;
  /** Of a map that was asked whether it is complete: the answer. */
  complete: boolean | null;
  /** Items that were added to a map. */
  items: number | null;
  /** What became of the signal that this command gave. */
  fate: string | null;
  command: number | null;
}

interface SignalRow extends Signal {
  run_id: string;
  command_seq: number | string;
}

/** A run's record, its events, and what is wrong with them whatever the workflow. */
export interface EngineRecord {
  record: RunRecord;
  events: RecordedEvent[];
  faults: string[];
}

/** All that is asked of a database. */
export interface Rows {
  query(sql: string, values: unknown[]): Promise<{ rows: unknown[] }>;
}

interface NodeRow extends Omit<RecordedNode, "resolved_order"> {
  run_id: string;
}

interface RunRow extends Pick<RunRecord, "status" | "error" | "output"> {
  run_id: string;
  parent_run_id: string | null;
  parent_node_id: string | null;
  parent_scope: string | null;
}

/** The events that resolve an execution, by the status that they lead to. */
const RESOLVING: Record<string, string> = {
  node_completed: "COMPLETED",
  node_failed: "FAILED",
  node_skipped: "SKIPPED",
  node_cancelled: "CANCELLED",
};
const ENDING = ["run_completed", "run_failed", "run_cancelled"];

/** The records of these runs, and of those that they started, by run id. */
export async function readRecords(
  database: Rows,
  runIds: readonly string[],
): Promise<Map<string, EngineRecord>> {
  const tree = await database.query(
    `with recursive tree as (
       select * from hitzero.runs where run_id = any ($1::uuid[])
       union all
       select r.* from hitzero.runs r join tree on r.parent_run_id = tree.run_id where r.parent_node_id is not null)
     select run_id, status, error, output, parent_run_id, parent_node_id, parent_scope from tree order by depth desc`,
    [runIds],
  );
  const runs = tree.rows as RunRow[];
  const all = runs.map(({ run_id }) => run_id);
  const [nodes, events, signals] = await Promise.all([
    database.query(
      `select e.run_id, e.node_id, e.scope, e.status, e.attempt, e.retry_count, e.reason, coalesce(e.output, b.content) as output,
         e.error, e.from_nodes
       from hitzero.node_executions e left join hitzero.blobs b on b.run_id = e.run_id and b.name = e.output_blob
       where e.run_id = any ($1::uuid[])`,
      [all],
    ),
    database.query(
      `select run_id, seq, event_type, node_id, scope, (data ->> 'attempt')::int as attempt, (data ->> 'delivery')::int as delivery,
         extract(epoch from at) * 1000 as at, data ->> 'due' as due, (data ->> 'complete')::bool as complete, data -> 'items' as items,
         data ->> 'fate' as fate, (data ->> 'command')::int as command
       from hitzero.event_log where run_id = any ($1::uuid[]) order by run_id, seq`,
      [all],
    ),
    database.query(
      `select run_id, command_seq, signal_name as name, scope, payload, issued_by as by, issued_at as at
       from hitzero.commands where kind = 'signal' and run_id = any ($1::uuid[])`,
      [all],
    ),
  ]);
  const nodesOf = byRun(nodes.rows as NodeRow[]);
  const eventsOf = byRun(events.rows as RecordedEvent[]);
  const signalsOf = byRun(signals.rows as SignalRow[]);
  const records = new Map<string, EngineRecord>();
  for (const run of runs) {
    const children = runs.filter(
      (other) => other.parent_node_id !== null && other.parent_run_id === run.run_id,
    );
    const own = recordOf(
      run,
      nodesOf.get(run.run_id) ?? [],
      eventsOf.get(run.run_id) ?? [],
      signalsOf.get(run.run_id) ?? [],
    );
    records.set(run.run_id, withChildren(own, children, records));
  }
  return records;
}

/** Inner runs come first. Their faults are their parents'. */
function withChildren(
  own: EngineRecord,
  children: readonly RunRow[],
  records: ReadonlyMap<string, EngineRecord>,
): EngineRecord {
  const entries = children.map((child) => {
    const key = keyOf(child.parent_node_id ?? "", child.parent_scope ?? "");
    return [key, records.get(child.run_id) as EngineRecord] as const;
  });
  const faults = entries.flatMap(([key, child]) =>
    child.faults.map((fault) => `in the child of ${key}: ${fault}`),
  );
  const byKey = Object.fromEntries(entries.map(([key, child]) => [key, child.record]));
  return { ...own, record: { ...own.record, children: byKey }, faults: [...own.faults, ...faults] };
}

function byRun<T extends { run_id: string }>(rows: readonly T[]): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const row of rows) {
    const group = groups.get(row.run_id);
    if (group) group.push(row);
    else groups.set(row.run_id, [row]);
  }
  return groups;
}

function recordOf(
  run: RunRow,
  rows: readonly NodeRow[],
  events: RecordedEvent[],
  signals: readonly SignalRow[],
): EngineRecord {
  const resolving = new Map(
    events.filter(({ event_type }) => RESOLVING[event_type]).map((event) => [nameOf(event), event]),
  );
  const nodes = rows.map(({ run_id: _run, ...node }): RecordedNode => {
    const { seq = null, at } = resolving.get(nameOf(node)) ?? {};
    return { ...node, output: node.output as Json, resolved_order: seq, resolved_at: at && Number(at) };
  });
  const moments = events.flatMap((event) => momentOf(event, signals));
  const started = events[0]?.event_type === "run_started";
  const cancelling = events.find(({ event_type }) => event_type === "run_cancelling");
  const cancelled_at = cancelling === undefined ? null : started ? cancelling.seq : 0;
  const cancelled_in_pause = cancelling !== undefined && isPausedAt(cancelling.seq, events);
  const { status, error, output } = run;
  const started_at = Number(events[0]?.at ?? 0);
  const record = { status, error, output, nodes, cancelled_at, cancelled_in_pause, moments, started_at };
  return { record, events, faults: faultsOf(rows, events) };
}

function momentOf(event: RecordedEvent, signals: readonly SignalRow[]): RecordedMoment[] {
  const { event_type, seq: order, complete, items } = event;
  const key = nameOf(event);
  // A signal may complete a map, too.
  if (event_type === "map_asked" && items === null)
    return [{ kind: "look", order, key, answer: complete === true }];
  if (event_type === "node_waiting" || event_type === "map_asked")
    return [{ kind: "wait", order, key, due: event.due === null ? null : Date.parse(event.due) }];
  const given = signals.find(({ command_seq }) => Number(command_seq) === event.command);
  if (event_type !== "signal_given" || given === undefined) return [];
  const { name, scope, payload, by, at } = given;
  const signal = { name, scope, payload, by, at: new Date(at).toISOString() };
  return [{ kind: "signal", order, signal, ...(event.fate === null ? {} : { fate: event.fate }) }];
}

function isPausedAt(seq: number, events: readonly RecordedEvent[]): boolean {
  const before = events.filter((event) => event.seq < seq);
  const last = before.findLast(
    ({ event_type }) => event_type === "run_paused" || event_type === "run_resumed",
  );
  return last?.event_type === "run_paused";
}

/** Events are numbered without gaps; an execution has one that resolves it, which is its status; a run ends once, at last. */
function faultsOf(rows: readonly NodeRow[], events: readonly RecordedEvent[]): string[] {
  const seqs = events.map(({ seq }) => seq);
  const gapless = seqs.every((seq, index) => seq === index + 1);
  const ends = events.flatMap(({ event_type }, index) => (ENDING.includes(event_type) ? [index] : []));
  return [
    ...(gapless ? [] : [`its events are numbered ${seqs.join(",")}`]),
    ...(ends.length === 1 && ends[0] === events.length - 1 ? [] : ["its end is not its one last event"]),
    ...rows.flatMap((row) => faultsOfNode(row, events)),
  ];
}

function nameOf({ node_id, scope }: { node_id: string | null; scope: string | null }): string {
  return keyOf(node_id ?? "", scope ?? "");
}

function faultsOfNode(row: NodeRow, events: readonly RecordedEvent[]): string[] {
  const { status, attempt } = row;
  const name = nameOf(row);
  const own = events.filter((event) => event.node_id !== null && nameOf(event) === name);
  const resolving = own.flatMap(({ event_type }) => RESOLVING[event_type] ?? []);
  const neverActivated = status === "CANCELLED" && attempt === 0;
  const expected = neverActivated ? [] : [status];
  return [
    ...(resolving.join() === expected.join()
      ? []
      : [`${name} is ${status}, its events say ${resolving.join(", ") || "nothing"}`]),
    ...faultsOfTries(name, events).map((fault) => `${name} ${fault}`),
    ...(attempt === 0 || attempt === 1 + own.filter(isRetry).length
      ? []
      : [`${name} is in attempt ${attempt}, its events tell of ${own.filter(isRetry).length} retries`]),
  ];
}

const isRetry = ({ event_type }: RecordedEvent): boolean => event_type === "node_retrying";

/**
 * A lost worker raises the delivery and uses up no attempt; only the answer to the last delivery counts. What has waited is
 * handed out anew, also by a signal that comes when the end of the waiting was handed out already.
 */
function faultsOfTries(name: string, events: readonly RecordedEvent[]): string[] {
  let [attempt, delivery] = [1, 1];
  let signalled = false;
  return events.flatMap((event) => {
    if (event.event_type === "signal_given") signalled ||= event.fate === "taken";
    if (event.node_id === null || nameOf(event) !== name) return [];
    const isAgain = event.event_type === "node_redelivered";
    if (signalled && event.delivery === (isAgain ? 2 : 1)) [delivery, signalled] = [1, false];
    if (isAgain) delivery += 1;
    const told = `${event.event_type} tells of attempt ${event.attempt}, delivery ${event.delivery}`;
    const right =
      (event.attempt ?? attempt) === attempt && (event.delivery ?? delivery) === delivery
        ? []
        : [`${told}, expected ${attempt}, ${delivery}`];
    if (isRetry(event)) [attempt, delivery] = [attempt + 1, 1];
    if (event.event_type === "node_waiting" || event.event_type === "map_asked") delivery = 1;
    return right;
  });
}
