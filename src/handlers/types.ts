/** What node types and users' handlers are given. They know tokens and config, never storage. */
import type { Log } from "../base/log.ts";
import type { IR, IRNode } from "../workflow/ir/ir.ts";
import type { HttpConnections } from "./http_connections.ts";

/** What a user's handler receives. All values are JSON. */
export interface HandlerContext {
  /** The predecessor's output, or an object keyed by node id when there are several; an entry node's is the run's input. */
  readonly data: unknown;
  /** The run's input. */
  readonly input: unknown;
  /** The node's `config`. */
  readonly config: Record<string, unknown>;
  /** The node's `config.params`. */
  readonly params: Record<string, unknown>;
  /** The workflow's `vars`. Frozen. */
  readonly vars: Record<string, unknown>;
  /** Counts from 1. */
  readonly attempt: number;
  /** Path of loop iterations and map items; "" outside them. */
  readonly scope: string;
  /** Inside a loop: its iteration, from 1. */
  readonly loop?: { iteration: number };
  /** Inside a map: its item, and the item's place in the list, from 0. */
  readonly item?: unknown;
  readonly index?: number;
  readonly runId: string;
  readonly nodeId: string;
  /** The same for every try of this execution, and different from every other's. */
  readonly idempotencyKey: string;
  /** Aborted at the node's timeout. Long work should honour it. */
  readonly signal: AbortSignal;
  readonly log: Log;
}

/** A user's handler. What it returns is the node's output; what it throws fails the node. */
export type Handler = (context: HandlerContext) => unknown;

/** Handlers by name, as a module exports them. */
export type Handlers = ReadonlyMap<string, Handler>;

/** One node execution, as the executors see it. Values are read when asked for. */
export interface Execution {
  readonly ir: IR;
  readonly nodeIndex: number;
  readonly node: IRNode;
  readonly runId: string;
  readonly scope: string;
  readonly attempt: number;
  /** Predecessors that the execution ran on, by node index, ascending. */
  readonly sources: readonly number[];
  readonly data: unknown;
  /** Is `data` an object by the ids of several predecessors? */
  readonly isJoin: boolean;
  readonly input: unknown;
  /** Outputs of ancestors by id, for `nodes["id"].output`. */
  readonly ancestors: Readonly<Record<string, { output: unknown }>>;
  /** The iteration and the item that it stands in, innermost. */
  readonly around: {
    readonly loop?: { iteration: number };
    readonly item?: unknown;
    readonly index?: number;
  };
  readonly signal: AbortSignal;
  readonly log: Log;
}

/** Performs the nodes of one type; the result is the node's output. */
export type NodeExecutor = (
  execution: Execution,
  handlers: Handlers,
  connections?: HttpConnections,
) => unknown;
