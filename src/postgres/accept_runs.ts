/**
 * Accepting runs: many submissions in one transaction.
 *
 * Idempotency keys are claimed first, in one order whoever claims them, so that two transactions cannot wait for each other. A submission
 * whose key stands for something else is refused by itself, and the others are accepted. All of it may be repeated with the same run ids
 * when its reply was lost: what was committed is found by them, and what is being committed is waited for.
 */
import { HitzeroError } from "../base/errors.ts";
import { pause } from "../base/wait.ts";
import { type Database, isConflict, type Queryable } from "./database.ts";
import { opened } from "./open_runs.ts";
import type { WorkflowVersion } from "./workflows.ts";

export interface NewRun {
  runId: string;
  partition: number;
}

/** One submission. */
export interface Acceptance {
  workflow: Pick<WorkflowVersion, "workflowName" | "version" | "digest">;
  /** At least one. */
  runs: readonly NewRun[];
  /** JSON text, of each of the runs. */
  input: string;
  tags: readonly string[];
  /** Only with a single run. */
  idempotencyKey?: string | undefined;
  /** SHA-256 of workflow digest and input; with a key. */
  inputDigest?: string | undefined;
}

/** The runs; those that the key made before; or why not: the key came with another workflow or input (IDEMPOTENCY_CONFLICT). */
export type AcceptanceOutcome =
  | { runIds: readonly string[]; existing: boolean }
  | { runIds?: undefined; refusal: HitzeroError };

/** A transaction that lost against another one is repeated so often. Each loss means that the other went on. */
const CONFLICT_TRIES = 10;
const CONFLICT_PAUSE_MS = 20;

/**
 * Accepts submissions: once this returns, each run of those that are not refused is promised a final status. Answers each, in the same
 * order.
 * `lockLimitMs`: no statement waits longer for another transaction that claims one of the keys (isLockTimeout).
 * @throws data faults of one of them (isDataFault); then none is accepted
 */
export async function acceptRuns(
  database: Database,
  acceptances: readonly Acceptance[],
  { lockLimitMs }: { lockLimitMs?: number | undefined } = {},
): Promise<AcceptanceOutcome[]> {
  const isKeyed = acceptances.some(({ idempotencyKey }) => idempotencyKey !== undefined);
  const settings = lockLimitMs === undefined ? {} : { lock_timeout: String(lockLimitMs) };
  for (let tries = 1; ; tries += 1) {
    try {
      // Without a key there is but one statement, which needs no transaction around it.
      return isKeyed
        ? await database.transaction((client) => accept(client, acceptances), settings)
        : await accept(database, acceptances);
    } catch (error) {
      if (!isConflict(error) || tries === CONFLICT_TRIES) throw error;
      await pause(Math.random() * CONFLICT_PAUSE_MS * tries);
    }
  }
}

async function accept(client: Queryable, acceptances: readonly Acceptance[]): Promise<AcceptanceOutcome[]> {
  const claims = await claimKeys(client, acceptances);
  const outcomes = acceptances.map((acceptance): AcceptanceOutcome => {
    const runIds = acceptance.runs.map(({ runId }) => runId);
    const claim = acceptance.idempotencyKey === undefined ? undefined : claims.get(acceptance.idempotencyKey);
    // This very run: it holds the key since now, or its acceptance is repeated.
    if (claim === undefined || claim.runId === runIds[0]) return { runIds, existing: false };
    if (claim.inputDigest === acceptance.inputDigest) return { runIds: [claim.runId], existing: true };
    return { refusal: conflictOf(acceptance.idempotencyKey as string) };
  });
  await insertRuns(
    client,
    acceptances.filter(
      (_acceptance, index) => (outcomes[index] as { existing?: boolean }).existing === false,
    ),
  );
  return outcomes;
}

interface Claim {
  runId: string;
  inputDigest: string;
}

/** Claims the keys that nobody holds; answers who holds each of them now. */
async function claimKeys(
  client: Queryable,
  acceptances: readonly Acceptance[],
): Promise<ReadonlyMap<string, Claim>> {
  const claims = new Map<string, Claim>();
  for (const { idempotencyKey, inputDigest, runs } of acceptances) {
    // Of several with one key the first claims it.
    if (idempotencyKey === undefined || claims.has(idempotencyKey)) continue;
    claims.set(idempotencyKey, { runId: runs[0]?.runId as string, inputDigest: inputDigest as string });
  }
  if (claims.size === 0) return claims;
  const keys = [...claims.keys()].sort();
  const claimOf = (key: string) => claims.get(key) as Claim;
  const inserted = await client.query(
    `insert into hitzero.idempotency_keys (idempotency_key, input_digest, run_id)
     select * from unnest($1::text[], $2::text[], $3::uuid[]) on conflict (idempotency_key) do nothing`,
    [keys, keys.map((key) => claimOf(key).inputDigest), keys.map((key) => claimOf(key).runId)],
  );
  if (inserted.rowCount === keys.length) return claims;
  const { rows } = await client.query<{ key: string; run_id: string; input_digest: string }>(
    "select idempotency_key as key, run_id, input_digest from hitzero.idempotency_keys where idempotency_key = any ($1)",
    [keys],
  );
  for (const { key, run_id, input_digest } of rows)
    claims.set(key, { runId: run_id, inputDigest: input_digest });
  return claims;
}

/** What several runs share travels once. */
async function insertRuns(client: Queryable, acceptances: readonly Acceptance[]): Promise<void> {
  if (acceptances.length === 0) return;
  const runs = acceptances.flatMap((acceptance, place) => acceptance.runs.map((run) => ({ ...run, place })));
  await client.query(
    opened(`insert into hitzero.runs (run_id, partition, workflow_name, workflow_version, ir_digest, input, tags, idempotency_key)
     select new.run_id, new.partition, s.name, s.version, s.digest, s.input, s.tags::text[], nullif(s.key, '')
     from unnest($1::uuid[], $2::int[], $3::int[]) as new (run_id, partition, place)
     join unnest($4::text[], $5::int[], $6::text[], $7::jsonb[], $8::text[], $9::text[]) with ordinality
       as s (name, version, digest, input, tags, key, place) on s.place = new.place + 1
     on conflict (run_id) do nothing`),
    [
      runs.map(({ runId }) => runId),
      runs.map(({ partition }) => partition),
      runs.map(({ place }) => place),
      acceptances.map(({ workflow }) => workflow.workflowName),
      acceptances.map(({ workflow }) => workflow.version),
      acceptances.map(({ workflow }) => workflow.digest),
      acceptances.map(({ input }) => input),
      acceptances.map(({ tags }) => arrayText(tags)),
      // No key is empty; and null in a list is a text where a session is set to take it so (`array_nulls`).
      acceptances.map(({ idempotencyKey }) => idempotencyKey ?? ""),
    ],
  );
}

/** Lists of different lengths are no array of arrays to Postgres. */
function arrayText(texts: readonly string[]): string {
  return `{${texts.map((text) => `"${text.replaceAll(/["\\]/g, "\\$&")}"`).join(",")}}`;
}

function conflictOf(key: string): HitzeroError {
  return new HitzeroError(
    "IDEMPOTENCY_CONFLICT",
    `idempotency key ${key} was used with another workflow or input`,
    { hint: "Use another key, or submit exactly what was submitted first." },
  );
}
