/** Commands to runs: rows first, then applied once, in order. */
import type { RunStatus } from "../token/lifecycle.ts";
import type { Queryable, Row } from "./database.ts";
import { dated, momentOf } from "./moments.ts";
import { EACH_EVENT, EVENT, NOTED } from "./packed_events.ts";

/** Outcome of a command whose run was over before. */
export const RUN_IS_OVER = "refused: the run is over";

export type UserCommand = "cancel" | "pause" | "resume" | "signal";

/** What a signal brings. */
export interface SignalContent {
  name: string;
  /** Scope of the execution that it is for. */
  scope?: string;
  payload?: unknown;
  /** Who gives it. */
  by?: string;
}

export interface OpenCommand extends Row {
  command_seq: number;
  run_id: string;
  /** `fail` comes from a worker. */
  kind: UserCommand | "fail";
  /** Of the run, on record. */
  status: RunStatus;
  issued_at: Date;
  issued_by: string | null;
  signal_name: string | null;
  scope: string | null;
  payload: unknown;
}

/** Accepts a command: once this returns it will be applied, or refused on record. The same id again is the same command. */
export async function acceptCommand(
  database: Queryable,
  command: { commandId: string; runId: string; partition: number; kind: UserCommand; signal?: SignalContent },
): Promise<void> {
  await database.query(
    `insert into hitzero.commands (command_id, run_id, partition, kind, signal_name, scope, payload, issued_by)
     values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (command_id) do nothing`,
    [
      command.commandId,
      command.runId,
      command.partition,
      command.kind,
      command.signal?.name ?? null,
      command.signal?.scope ?? null,
      command.signal?.payload === undefined ? null : JSON.stringify(command.signal.payload),
      command.signal?.by ?? null,
    ],
  );
}

/** A step that the scripts refuse. */
export interface StepFault {
  call: string;
  reason: string;
}

/** Asks the reader to end a run that cannot be carried on, unless it was asked already. */
export async function askToFail(
  database: Queryable,
  run: { runId: string; partition: number; by: string; fault: StepFault },
): Promise<void> {
  await database.query(
    `insert into hitzero.commands (command_id, run_id, partition, kind, payload, issued_by)
     select gen_random_uuid(), $1, $2, 'fail', $3, $4
     where not exists (select 1 from hitzero.commands where run_id = $1 and kind = 'fail' and applied_at is null)`,
    [run.runId, run.partition, JSON.stringify(run.fault), run.by],
  );
}

/** Commands of a partition that are not applied yet, in order; those that wait for their run to start come behind all others. */
export async function listOpenCommands(
  database: Queryable,
  partition: number,
  limit: number,
): Promise<OpenCommand[]> {
  // Mostly there are none, and of `runs` no statement is planned then.
  const { rows: found } = await database.query(
    "select 1 from hitzero.commands where partition = $1 and applied_at is null limit 1",
    [partition],
  );
  if (found.length === 0) return [];
  const { rows } = await database.query<OpenCommand>(
    `select c.command_seq, c.run_id, c.kind, r.status, ${momentOf("c.issued_at")}, c.issued_by, c.signal_name, c.scope, c.payload
     from hitzero.commands c join hitzero.runs r using (run_id)
     where c.partition = $1 and c.applied_at is null
     order by r.status = 'PENDING' and c.kind not in ('cancel', 'fail'), c.command_seq limit $2`,
    [partition, limit],
  );
  return dated(rows, "issued_at");
}

/** Notes what became of commands. */
export async function closeCommands(
  client: Queryable,
  seqs: readonly number[],
  outcome: string,
): Promise<void> {
  if (seqs.length === 0) return;
  await client.query(
    "update hitzero.commands set applied_at = now(), outcome = $2 where command_seq = any ($1::bigint[]) and applied_at is null",
    [seqs, outcome],
  );
}

/** What became of a command; undefined while it is under way. */
export async function commandOutcome(database: Queryable, commandId: string): Promise<string | undefined> {
  const { rows } = await database.query<{ outcome: string | null }>(
    "select outcome from hitzero.commands where command_id = $1",
    [commandId],
  );
  return rows[0]?.outcome ?? undefined;
}

/** What a command that took effect did, in words; undefined before. */
export async function commandEffect(database: Queryable, commandId: string): Promise<string | undefined> {
  const { rows } = await database.query<{ message: string }>(
    `select ${EVENT.message} as message from hitzero.commands c join hitzero.events_packed p using (run_id) ${EACH_EVENT}
     where c.command_id = $1 and p.${NOTED} and p.kinds @> '{command}'
       and (${EVENT.data}) @> jsonb_build_object('command', c.command_seq) limit 1`,
    [commandId],
  );
  return rows[0]?.message;
}

/**
 * Unfinished runs of a partition that were halted or resumed: a new reader sees to it that this went through. In random order: a reader that
 * is interrupted does not begin with the same ones each time.
 */
export async function listCommanded(
  database: Queryable,
  partition: number,
): Promise<{ run_id: string; halted: boolean }[]> {
  const { rows } = await database.query<{ run_id: string; halted: boolean }>(
    `select r.run_id, bool_or(p.kinds && '{run_cancelling,run_timed_out,halted}') as halted
     from hitzero.open_runs r join hitzero.events_packed p using (run_id)
     where r.partition = $1 and r.started_at is not null
       and p.${NOTED} and p.kinds && '{run_cancelling,run_timed_out,run_resumed,halted}'
     group by r.run_id order by random()`,
    [partition],
  );
  return rows;
}

/** Maps of unfinished runs that are gone while items of them were under way: a new reader sees to it that these are withdrawn. */
export async function listBurials(
  database: Queryable,
  partition: number,
): Promise<{ run_id: string; node_id: string; scope: string }[]> {
  const { rows } = await database.query<{ run_id: string; node_id: string; scope: string }>(
    `select r.run_id, ${EVENT.nodeId} as node_id, ${EVENT.scope} as scope
     from hitzero.open_runs r join hitzero.events_packed p using (run_id) ${EACH_EVENT}
     where r.partition = $1 and r.started_at is not null and p.${NOTED} and p.kinds @> '{buries}' and (${EVENT.data}) ? 'buries'`,
    [partition],
  );
  return rows;
}
