/** Workflows and their immutable versions. */
import { HitzeroError } from "../base/errors.ts";
import type { IR } from "../workflow/ir/ir.ts";
import { LIMITS } from "../workflow/limits.ts";
import type { Database, Queryable, Row } from "./database.ts";

export interface WorkflowVersion {
  workflowName: string;
  version: number;
  digest: string;
}

/** Registers a version, or finds the one with the same digest. A new version is not active. */
export async function registerVersion(
  database: Database,
  ir: IR,
  digest: string,
  definition: unknown,
): Promise<WorkflowVersion> {
  const find = async (client: Queryable) => {
    const { rows } = await client.query<{ version: number }>(
      "select version from hitzero.workflow_versions where workflow_name = $1 and ir_digest = $2",
      [ir.name, digest],
    );
    return rows[0]?.version;
  };
  const known = await find(database);
  if (known !== undefined) return { workflowName: ir.name, version: known, digest };
  return database.transaction(async (client) => {
    await client.query(
      "insert into hitzero.workflows (workflow_name) values ($1) on conflict (workflow_name) do nothing",
      [ir.name],
    );
    // The row lock makes registrations of one workflow queue up, so that numbers are dense.
    await client.query("select 1 from hitzero.workflows where workflow_name = $1 for update", [ir.name]);
    const raced = await find(client);
    if (raced !== undefined) return { workflowName: ir.name, version: raced, digest };
    const { rows } = await client.query<{ version: number }>(
      `insert into hitzero.workflow_versions (workflow_name, version, ir_digest, definition, ir)
       select $1, coalesce(max(version), 0) + 1, $2, $3, $4 from hitzero.workflow_versions where workflow_name = $1
       returning version`,
      [ir.name, digest, JSON.stringify(definition), JSON.stringify(ir)],
    );
    return { workflowName: ir.name, version: (rows[0] as { version: number }).version, digest };
  });
}

/**
 * Finds a registered version by name; without a number the active one, else the newest.
 * @throws HitzeroError WORKFLOW_NOT_FOUND
 */
export async function findVersion(
  database: Queryable,
  name: string,
  version?: number,
): Promise<WorkflowVersion & { ir: IR }> {
  const missing = () => {
    const what = version === undefined ? `workflow ${name}` : `version ${version} of workflow ${name}`;
    return new HitzeroError("WORKFLOW_NOT_FOUND", `${what} is not registered`, {
      hint: "Submit its file once, or check the name; a file is named with its path or extension.",
    });
  };
  if (version !== undefined && !(Number.isInteger(version) && version >= 1 && version <= LIMITS.version))
    throw missing();
  const { rows } = await database.query<{ version: number; ir_digest: string; ir: IR }>(
    `select v.version, v.ir_digest, v.ir from hitzero.workflow_versions v join hitzero.workflows w using (workflow_name)
     where workflow_name = $1 and ($2::int is null or v.version = $2)
     order by (v.version = w.active_version) desc nulls last, v.version desc limit 1`,
    [name, version ?? null],
  );
  const row = rows[0];
  if (!row) throw missing();
  return { workflowName: name, version: row.version, digest: row.ir_digest, ir: row.ir };
}

/**
 * Makes a version the active one; `onlyFirst`: only version 1, while none is active. Answers the active version.
 * @throws HitzeroError WORKFLOW_NOT_FOUND
 */
export async function activateVersion(
  database: Database,
  name: string,
  version: number,
  onlyFirst: boolean,
): Promise<number | null> {
  await findVersion(database, name, version);
  const { rows } = await database.query<{ active_version: number | null }>(
    `update hitzero.workflows set active_version =
       case when not $3 or ($2 = 1 and active_version is null) then $2 else active_version end
     where workflow_name = $1 returning active_version`,
    [name, version, onlyFirst],
  );
  return rows[0]?.active_version ?? null;
}

export interface WorkflowRow extends Row {
  workflow_name: string;
  /** The version that runs by name; null: the newest does. */
  active_version: number | null;
  /** From 1. */
  versions: { version: number; ir_digest: string; created_at: string }[];
}

/** All workflows by name. */
export async function listWorkflows(database: Queryable): Promise<WorkflowRow[]> {
  const { rows } = await database.query<WorkflowRow>(
    `select w.workflow_name, w.active_version, json_agg(json_build_object('version', v.version, 'ir_digest', v.ir_digest,
       'created_at', to_char(v.created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')) order by v.version) as versions
     from hitzero.workflows w join hitzero.workflow_versions v using (workflow_name)
     group by w.workflow_name order by w.workflow_name`,
  );
  return rows;
}

/** The compiled form by digest; undefined when no version has it. */
export async function loadIR(database: Queryable, digest: string): Promise<IR | undefined> {
  const { rows } = await database.query<{ ir: IR }>(
    "select ir from hitzero.workflow_versions where ir_digest = $1 limit 1",
    [digest],
  );
  return rows[0]?.ir;
}
