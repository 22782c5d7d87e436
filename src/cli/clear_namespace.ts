/** Looks at the keys of a namespace, and removes them: what `clear-redis` does. */
import { HitzeroError } from "../base/errors.ts";
import { Database, type Queryable } from "../postgres/database.ts";
import { countUnfinishedRuns, readInstallation } from "../postgres/partitions.ts";
import { RedisConnection } from "../redis/connection.ts";
import { clearNamespace, countKeys, ownersOf } from "../redis/namespace.ts";
import { plural } from "./shell/format.ts";

export interface NamespaceKeys {
  namespace: string;
  /** Ids of the databases that the keys belong to; null: of a release that kept none. */
  installations: (string | null)[];
  /** How many there are, or were. */
  keys: number;
  removed: boolean;
}

interface Servers {
  redisUrl: string;
  databaseUrl: string;
  namespace: string;
}

/** @throws HitzeroError REDIS_IS_OWN without `own`, when the keys hold unfinished runs of this database */
export async function clearKeys(
  { redisUrl, databaseUrl, namespace }: Servers,
  { remove, own }: { remove: boolean; own: boolean },
): Promise<NamespaceKeys> {
  const database = new Database(databaseUrl, { size: 1 });
  let redis: RedisConnection | undefined;
  try {
    redis = await RedisConnection.open(redisUrl);
    const owners = await ownersOf(redis, namespace);
    if (!own) await refuseOwn(database, owners, namespace);
    const keys = await (remove ? clearNamespace : countKeys)(redis, namespace);
    return { namespace, installations: [...owners], keys, removed: remove };
  } finally {
    redis?.close();
    await database.close();
  }
}

async function refuseOwn(
  database: Queryable,
  owners: ReadonlySet<string | null>,
  namespace: string,
): Promise<void> {
  if (!owners.has(await readInstallation(database))) return;
  const runs = await countUnfinishedRuns(database);
  if (runs === 0) return;
  throw new HitzeroError(
    "REDIS_IS_OWN",
    `the keys of namespace ${namespace} belong to this database, of which ${plural(runs, "run")} did not end yet`,
    {
      hint: "Those runs would stand still. Cancel them first, or say --own to remove the keys all the same.",
    },
  );
}
