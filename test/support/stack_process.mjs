/**
 * A user of local servers in a process of its own, for tests that kill it: `node stack_process.mjs FOLDER`.
 * In JavaScript, from what the global set-up built.
 *
 * Prints its servers as one line of JSON once they run. Then a line on standard input tells it how to go: `stop` in order,
 * `exit` without stopping.
 */

import { createInterface } from "node:readline";
import { startLocalServers } from "../.built/stack.js";

const servers = await startLocalServers({ dir: process.argv[2] ?? "" });
process.stdout.write(`${JSON.stringify({ redisUrl: servers.redisUrl, databaseUrl: servers.databaseUrl })}\n`);
for await (const line of createInterface({ input: process.stdin })) {
  if (line === "exit") process.exit(0);
  if (line === "stop") {
    await servers.stop();
    process.exit(0);
  }
}
