/** Dead letters: executions whose workers died with them and nothing else, and what somebody decided about them. */
import { HitzeroError } from "../base/errors.ts";
import type { RunStatus } from "../token/lifecycle.ts";
import type { Database, Queryable, Row } from "./database.ts";
import { dated, momentOf } from "./moments.ts";

/** Which execution. */
export interface DeadLetterId {
  runId: string;
  nodeId: string;
  /** Default "": outside loops and maps. */
  scope?: string;
}

export interface DeadLetterRow extends Row {
  run_id: string;
  node_id: string;
  scope: string;
  workflow_name: string;
  workflow_version: number;
  run_status: RunStatus;
  /** How often it was handed out. */
  deliveries: number;
  /** How many workers died that performed it and nothing else. */
  losses: number;
  /** What is known of the last of these deaths. */
  last_words: string | null;
  worker_id: string | null;
  died_at: Date;
  error: { code: string; message: string } | null;
  resolution: "redriven" | "discarded" | null;
  resolved_at: Date | null;
  redriven_as: string | null;
}

export interface DeadLetterFilter {
  /** Those that were decided, too. Default false. */
  decided?: boolean;
  workflow?: string;
  /** Default 100. */
  limit?: number;
}

const MOMENTS = ["died_at", "resolved_at"] as const;
const SELECT = `select d.run_id, d.node_id, d.scope, r.workflow_name, r.workflow_version, r.status as run_status, d.deliveries,
    d.losses, d.last_words, d.worker_id, ${momentOf("d.died_at")}, e.error, d.resolution, ${momentOf("d.resolved_at")}, d.redriven_as
  from hitzero.dead_letters d join hitzero.runs r using (run_id)
  left join hitzero.node_executions e using (run_id, node_id, scope)`;

/** Newest first. */
export async function listDeadLetters(
  database: Queryable,
  filter: DeadLetterFilter = {},
): Promise<DeadLetterRow[]> {
  const { rows } = await database.query<DeadLetterRow>(
    `${SELECT} where ($1 or d.resolution is null) and ($2::text is null or r.workflow_name = $2)
     order by d.died_at desc, d.run_id, d.node_id, d.scope limit $3`,
    [filter.decided ?? false, filter.workflow ?? null, filter.limit ?? 100],
  );
  return dated(rows, ...MOMENTS);
}

/** @throws HitzeroError DEAD_LETTER_NOT_FOUND */
export async function getDeadLetter(database: Queryable, id: DeadLetterId): Promise<DeadLetterRow> {
  const { runId, nodeId, scope = "" } = id;
  const valid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(runId);
  const { rows } = valid
    ? await database.query<DeadLetterRow>(
        `${SELECT} where d.run_id = $1 and d.node_id = $2 and d.scope = $3`,
        [runId, nodeId, scope],
      )
    : { rows: [] };
  const [letter] = dated(rows, ...MOMENTS);
  if (letter) return letter;
  const where = scope === "" ? "" : ` in scope ${scope.slice(0, 64)}`;
  throw new HitzeroError(
    "DEAD_LETTER_NOT_FOUND",
    `there is no dead letter of node ${nodeId.slice(0, 64)}${where} of run ${runId.slice(0, 64)}`,
    { hint: "`npx hitzero dead-letter list --all` shows all of them." },
  );
}

/** Refuses a letter that was decided; holds its row, so that decisions queue up. */
async function lockUndecided(client: Queryable, id: DeadLetterId): Promise<void> {
  const { runId, nodeId, scope = "" } = id;
  await client.query(
    "select 1 from hitzero.dead_letters where run_id = $1 and node_id = $2 and scope = $3 for update",
    [runId, nodeId, scope],
  );
  const letter = await getDeadLetter(client, id);
  if (letter.resolution === null) return;
  const as = letter.redriven_as === null ? "" : ` as run ${letter.redriven_as}`;
  throw new HitzeroError(
    "DEAD_LETTER_DECIDED",
    `this dead letter was ${letter.resolution}${as} at ${letter.resolved_at?.toISOString()}`,
    { hint: "A decision stands; submit the workflow again for another run." },
  );
}

/** The run that repeats the old one. */
export interface RedrivenRun {
  workflowName: string;
  workflowVersion: number;
  digest: string;
  /** JSON text. */
  input: string;
  /** Epoch of its partition. */
  epoch: string;
  /** Dead letters of the old run that nobody decided about. */
  openBesides: number;
}

/**
 * Accepts a new run with version, input and tags of the letter's run, and notes the decision: both or neither.
 * @throws HitzeroError DEAD_LETTER_NOT_FOUND, DEAD_LETTER_DECIDED
 */
export async function acceptRedrive(
  database: Database,
  id: DeadLetterId,
  run: { runId: string; partition: number },
): Promise<RedrivenRun> {
  return database.transaction(async (client) => {
    await getDeadLetter(client, id);
    await lockUndecided(client, id);
    const { rows } = await client.query<RedrivenRun & Row>(
      `with opened as (insert into hitzero.open_runs (partition, run_id) values ($3, $2))
       insert into hitzero.runs as new
         (run_id, partition, workflow_name, workflow_version, ir_digest, input, tags, parent_run_id)
       select $2, $3, workflow_name, workflow_version, ir_digest, input, tags, run_id from hitzero.runs where run_id = $1
       returning workflow_name as "workflowName", workflow_version as "workflowVersion", ir_digest as digest,
         coalesce(input, 'null')::text as input,
         (select epoch::text from hitzero.partitions p where p.partition = new.partition) as epoch,
         (select count(*) - 1 from hitzero.dead_letters d where d.run_id = $1 and d.resolution is null) as "openBesides"`,
      [id.runId, run.runId, run.partition],
    );
    await decide(client, id, "redriven", run.runId);
    return rows[0] as RedrivenRun;
  });
}

/** Notes that nothing is to be done. @throws HitzeroError DEAD_LETTER_NOT_FOUND, DEAD_LETTER_DECIDED */
export async function discardDeadLetter(database: Database, id: DeadLetterId): Promise<void> {
  await database.transaction(async (client) => {
    await getDeadLetter(client, id);
    await lockUndecided(client, id);
    await decide(client, id, "discarded", null);
  });
}

async function decide(
  client: Queryable,
  { runId, nodeId, scope = "" }: DeadLetterId,
  resolution: "redriven" | "discarded",
  redrivenAs: string | null,
): Promise<void> {
  await client.query(
    `update hitzero.dead_letters set resolution = $4, resolved_at = now(), redriven_as = $5
     where run_id = $1 and node_id = $2 and scope = $3`,
    [runId, nodeId, scope, resolution, redrivenAs],
  );
}
