/** What waits for a worker that nobody is: in a queue that no live worker reads, or for a function that none of the queue's offers. */
import type { Queryable } from "../postgres/database.ts";
import { readServices } from "../postgres/registry.ts";
import { readWaiting } from "../redis/function_streams.ts";
import type { Partition } from "../redis/partition.ts";
import { decodeToken } from "../token/token.ts";
import type { QueuedFunction } from "../workflow/ir/function_of.ts";
import type { IR } from "../workflow/ir/ir.ts";

export interface Unserved {
  /** Queues that no live worker reads. */
  queues: readonly string[];
  /** Functions that none of the workers of their queue offers, though there are such. */
  functions: readonly QueuedFunction[];
}

/** What of these queues, and functions in them, no live worker serves. */
export async function findUnserved(
  database: Queryable,
  queues: readonly string[],
  functions: readonly QueuedFunction[],
): Promise<Unserved> {
  const services = await readServices(database, [...queues.map((queue) => ({ queue })), ...functions]);
  return {
    queues: services.flatMap(({ queue, functionName, read }) =>
      functionName === null && !read ? [queue] : [],
    ),
    functions: services.flatMap(({ queue, functionName, read, offered }) =>
      functionName !== null && read && !offered ? [{ queue, functionName }] : [],
    ),
  };
}

/** A node execution that waits for a worker. */
export interface WaitingNode {
  runId: string;
  nodeId: string;
  scope: string;
  queue: string;
  /** Undefined: no worker reads the queue. */
  functionName?: string;
  since: Date;
}

/** Entries of one stream that are looked at. */
const LOOKED_AT = 1_000;

/** The executions that wait for a worker, of one run or of all, of each place suspects first, else in order of their arrival. */
export async function findWaiting(
  partition: Partition,
  { queues, functions }: Unserved,
  irOf: (digest: string) => Promise<IR>,
  options: { runId?: string; limit?: number } = {},
): Promise<WaitingNode[]> {
  const places = [...queues.map((queue) => ({ queue })), ...functions];
  const limit = options.limit ?? LOOKED_AT;
  const waiting: WaitingNode[] = [];
  for (const place of places) {
    const suspects = await readWaiting(partition, { ...place, suspects: true }, limit);
    for (const { text, since } of [...suspects, ...(await readWaiting(partition, place, limit))]) {
      const token = decodeToken(text);
      if (token?.kind !== "execution" || token.runId !== (options.runId ?? token.runId)) continue;
      const nodeId = (await irOf(token.digest)).nodes[token.node]?.id as string;
      waiting.push({ ...place, runId: token.runId, nodeId, scope: token.scope, since: new Date(since) });
    }
  }
  return waiting;
}
