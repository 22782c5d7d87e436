/** What the user who migrates may do, and what to ask a database administrator for where that is not enough. */
import { HitzeroError } from "../base/errors.ts";
import type { Queryable } from "./database.ts";

/** Names are quoted as SQL wants them. */
type Standing = {
  user: string;
  database: string;
  /** Is schema `hitzero` there? */
  schema: boolean;
  /** It belongs to somebody whose rights this user does not have. */
  foreign_schema: boolean;
  may_create_schema: boolean;
  /** In schema `hitzero`. */
  may_use: boolean;
  may_create: boolean;
  /** Is the table of migrations there? */
  bookkeeping: boolean;
  /** Owner of a table of the schema whose rights this user does not have. */
  foreign_owner: string | null;
};

// From the catalog, which everybody may read: names like to_regclass are refused to those who may not use the schema.
const STANDING = `select quote_ident(current_user) as user, quote_ident(current_database()) as database,
    n.oid is not null as schema, coalesce(not pg_has_role(n.nspowner, 'USAGE'), false) as foreign_schema,
    has_database_privilege(current_database(), 'CREATE') as may_create_schema,
    coalesce(has_schema_privilege(n.oid, 'USAGE'), false) as may_use,
    coalesce(has_schema_privilege(n.oid, 'CREATE'), false) as may_create,
    exists (select 1 from pg_class c where c.relnamespace = n.oid and c.relname = 'migrations') as bookkeeping,
    (select quote_ident(pg_get_userbyid(c.relowner)) from pg_class c where c.relnamespace = n.oid
       and c.relkind in ('r', 'p', 'v') and not pg_has_role(c.relowner, 'USAGE') limit 1) as foreign_owner
  from (select 1) one left join pg_namespace n on n.nspname = 'hitzero'`;

export async function readStanding(client: Queryable): Promise<Standing> {
  const { rows } = await client.query<Standing>(STANDING);
  return rows[0] as Standing;
}

function denied(message: string, hint: string): HitzeroError {
  return new HitzeroError("PERMISSION_DENIED", message, { hint, exitCode: 3 });
}

/** May this user read, or make, the schema and its table of migrations? @throws HitzeroError PERMISSION_DENIED */
export function refuseMissingRights(standing: Standing): void {
  const { user, database, schema, bookkeeping } = standing;
  if (!schema && !standing.may_create_schema) {
    throw denied(
      `${user} may not create schema hitzero in database ${database}`,
      `As the owner of the database: CREATE SCHEMA hitzero AUTHORIZATION ${user}; (or GRANT CREATE ON DATABASE ${database} TO ${user};)`,
    );
  }
  const lacks = [
    ...(standing.may_use ? [] : ["USAGE"]),
    ...(standing.may_create || bookkeeping ? [] : ["CREATE"]),
  ].join(", ");
  if (!schema || lacks === "") return;
  throw denied(
    `${user} lacks ${lacks} on schema hitzero of database ${database}`,
    `As the owner of the schema: GRANT ${lacks} ON SCHEMA hitzero TO ${user};`,
  );
}

/** Only the owner of a table may alter it. @throws HitzeroError PERMISSION_DENIED */
export function refuseForeignTables({ user, database, foreign_owner, may_create }: Standing): void {
  if (foreign_owner !== null) {
    throw denied(
      `${user} may not migrate: tables of schema hitzero in database ${database} belong to ${foreign_owner}`,
      `Migrate as ${foreign_owner}, or: GRANT ${foreign_owner} TO ${user};`,
    );
  }
  if (may_create) return;
  throw denied(
    `${user} lacks CREATE on schema hitzero of database ${database}`,
    `As the owner of the schema: GRANT CREATE ON SCHEMA hitzero TO ${user};`,
  );
}
