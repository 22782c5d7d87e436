/** Where the servers are, as people read it. */
import type { Settings } from "../../engine/settings.ts";
import { describeDatabase } from "../../postgres/connection_errors.ts";
import { redisAddress } from "../../redis/connection_errors.ts";

/** Without users and passwords. */
export function addresses({ redisUrl = "", databaseUrl = "" }: Settings): string {
  return `Redis ${redisAddress(redisUrl)}, Postgres ${describeDatabase(databaseUrl)}`;
}
