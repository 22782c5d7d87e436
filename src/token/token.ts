/**
 * Tokens: the permission to perform one node execution, or to settle arrivals that one call could not hold.
 * At most ~200 bytes: run, generation, digest, node, scope, attempt, delivery, nonce, with `|` between; scripts write them
 * (`lua/lib/emit.lua`), workers read them.
 */

import { TOKEN } from "./letters.ts";

/** What identifies a node execution, with the fence of its current token. */
export interface ExecutionToken {
  kind: "execution";
  runId: string;
  /** Generation of the run: rebuilt runs get a new one, which makes older tokens stale. */
  generation: number;
  digest: string;
  node: number;
  scope: string;
  /** Handler tries, from 1. */
  attempt: number;
  /** Hand-outs of this token, from 1. */
  delivery: number;
  /** Nonce of the call that activated the execution. */
  nonce: string;
}

/** Arrivals left over by a step that reached its limit of edges. */
export interface SettleToken {
  kind: "settle";
  runId: string;
  generation: number;
  digest: string;
  /** Field of the run's state that holds the rest. */
  work: string;
}

export type Token = ExecutionToken | SettleToken;

/** An execution that a worker holds, as its lease names it. */
export type Leased = Omit<ExecutionToken, "kind" | "digest"> & { queue: string };

/** A token that lies in no stream, but waits, is kept with its queue before it. */
export function decodeKept(kept: string): { queue: string; token: Token } | undefined {
  const split = kept.indexOf("|");
  const token = decodeToken(kept.slice(split + 1));
  return split < 0 || !token ? undefined : { queue: kept.slice(0, split), token };
}

/** What the lease of an execution is named by: `queue|run|generation|node|scope|attempt|delivery|nonce`. */
export function encodeLease(queue: string, of: Omit<Leased, "queue">): string {
  const { runId, generation, node, scope, attempt, delivery, nonce } = of;
  return `${queue}|${runId}|${generation}|${node}|${scope}|${attempt}|${delivery}|${nonce}`;
}

export function decodeLease(lease: string): Leased | undefined {
  const parts = lease.split("|");
  const [queue, runId, generation, node, scope, attempt, delivery, nonce] = parts as string[];
  if (parts.length !== 8) return undefined;
  return {
    queue: queue as string,
    runId: runId as string,
    generation: Number(generation),
    node: Number(node),
    scope: scope as string,
    attempt: Number(attempt),
    delivery: Number(delivery),
    nonce: nonce as string,
  };
}

/** Reads a token as scripts write it; undefined when it is not one. */
export function decodeToken(text: string): Token | undefined {
  const parts = text.split("|");
  const [kind, runId, generation, digest] = parts as [string, string, string, string];
  if (parts.length < 5) return undefined;
  if (kind === TOKEN.settle && parts.length === 5 && parts[4])
    return { kind: "settle", runId, generation: Number(generation), digest, work: parts[4] };
  if (kind !== TOKEN.execution || parts.length !== 9 || !parts[8]) return undefined;
  return {
    kind: "execution",
    runId,
    generation: Number(generation),
    digest,
    node: Number(parts[4]),
    scope: parts[5] as string,
    attempt: Number(parts[6]),
    delivery: Number(parts[7]),
    nonce: parts[8],
  };
}
