/** The engine as commands use it. Loaded when a command begins to work, so that help and usage errors come at once. */
import type { Settings } from "../engine/settings.ts";
import { describeDatabase } from "../postgres/connection_errors.ts";
import { redisAddress } from "../redis/connection.ts";

export { Client } from "../engine/client.ts";
export { encodeInput } from "../engine/input.ts";
export { Supervisor } from "../engine/supervisor.ts";
export { Worker } from "../engine/worker.ts";
export { loadHandlers } from "../handlers/load.ts";
export { migrate } from "../postgres/migrate.ts";
export { examine } from "./doctor/examine.ts";
export { LocalStack } from "./local_stack.ts";

/** Where the servers are, without users and passwords. */
export function addresses({ redisUrl = "", databaseUrl = "" }: Settings): string {
  return `Redis ${redisAddress(redisUrl)}, Postgres ${describeDatabase(databaseUrl)}`;
}
