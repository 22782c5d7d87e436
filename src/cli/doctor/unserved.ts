/** What waits for a worker that nobody is: of a queue that none reads, or with a function that none offers. */
import { IRCache } from "../../engine/ir_cache.ts";
import { findUnserved, findWaiting, type Unserved, type WaitingNode } from "../../engine/unserved.ts";
import type { Database } from "../../postgres/database.ts";
import { readNeeds } from "../../postgres/health.ts";
import type { Partition } from "../../redis/partition.ts";
import { placeOf } from "../run/scopes.ts";
import { duration, functionText, plural } from "../shell/format.ts";
import { type Check, checksOf } from "./check.ts";

const NODES_SHOWN = 3;

export async function examineUnserved(
  database: Database,
  partitions: readonly Partition[],
): Promise<Check[]> {
  const needs = await readNeeds(database);
  const unserved = await findUnserved(
    database,
    [...new Set(needs.map(({ queue }) => queue))],
    needs.flatMap(({ queue, functionName }) => (functionName === null ? [] : [{ queue, functionName }])),
  );
  const irs = new IRCache(database);
  const waiting = await Promise.all(
    partitions.map((partition) => findWaiting(partition, unserved, (digest) => irs.get(digest))),
  );
  return unservedChecks(unserved, waiting.flat(), Date.now());
}

export function unservedChecks(
  { queues, functions }: Unserved,
  waiting: readonly WaitingNode[],
  now: number,
): Check[] {
  const { ok, fail } = checksOf("work");
  const checks: Check[] = [
    functions.length === 0
      ? ok("functions", "every function that unfinished runs name is offered where its queue is read")
      : fail(
          "functions",
          `unfinished runs name functions that no live worker offers: ${functions.map(functionText).join(", ")}`,
          "Start a worker with --handlers MODULE that exports them. Otherwise their nodes fail with HANDLER_NOT_FOUND after unoffered_timeout_ms (15 min unless the supervisor was told otherwise).",
        ),
  ];
  if (queues.length > 0) {
    checks.push(
      fail(
        "queues",
        `unfinished runs use queues that no live worker reads: ${queues.join(", ")}`,
        `Start \`npx hitzero worker --queues ${queues.join(",")}\`.`,
      ),
    );
  }
  const places = [...functions, ...queues.map((queue) => ({ queue, functionName: undefined }))];
  for (const { queue, functionName } of places) {
    const nodes = waiting.filter((node) => node.queue === queue && node.functionName === functionName);
    if (nodes.length > 0) checks.push(waitingCheck({ queue, functionName }, nodes, now));
  }
  return checks;
}

function waitingCheck(
  { queue, functionName }: { queue: string; functionName: string | undefined },
  nodes: readonly WaitingNode[],
  now: number,
): Check {
  const { warn } = checksOf("work");
  const what =
    functionName === undefined ? `queue ${queue}` : `function ${functionText({ queue, functionName })}`;
  const oldest = nodes.toSorted((left, right) => left.since.getTime() - right.since.getTime());
  const shown = oldest.slice(0, NODES_SHOWN).map(({ runId, nodeId, scope, since }) => {
    const waited = duration(Math.max(0, now - since.getTime()));
    return `${placeOf(nodeId, scope)} of run ${runId} (for ${waited})`;
  });
  const more = nodes.length - shown.length;
  return warn(
    `waiting for ${functionName ?? queue}`,
    `${plural(nodes.length, "node")} ${nodes.length === 1 ? "waits" : "wait"} for a worker with ${what}: ${shown.join(", ")}${more > 0 ? `, and ${more} more` : ""}`,
    "See `npx hitzero run show RUN_ID`.",
  );
}
