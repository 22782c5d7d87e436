/**
 * The names of all keys. Everything of a partition shares one hash tag, so that one script sees all it needs; and all but `meta` carries
 * the epoch that it belongs to, so that what an older epoch left behind is never read (docs/adr/0024).
 */

import type { QueuedFunction } from "../workflow/ir/function_of.ts";
import { FenceError } from "./fence_error.ts";

/** Layout of keys and fields. A release with another layout is refused by the fence. */
export const LAYOUT = "5";

/** Consumer group of the ready streams (created by `open`). */
export const GROUP = "workers";

/** Settle tokens lie in a queue of their own, which each worker reads whatever its others are. No node's queue is named so. */
export const SETTLE_QUEUE = "~settle";

/** Which stream of tokens: a queue's, that of a function of it, or that of the suspects of either. */
export interface StreamPlace {
  queue: string;
  functionName?: string;
  suspects?: boolean;
}

/** A stream of tokens that wait for a worker which offers their function; suspects wait in one of their own. */
export type FunctionStream = StreamPlace & QueuedFunction;

export class PartitionKeys {
  readonly namespace: string;
  readonly partition: number;
  readonly #epoch: string | undefined;
  readonly #all: string;
  readonly #own: string;

  /** Without an epoch there is no key but `meta`. */
  constructor(namespace: string, partition: number, epoch?: string) {
    this.namespace = namespace;
    this.partition = partition;
    this.#epoch = epoch;
    this.#all = `{${namespace}:${partition}}:`;
    this.#own = `${this.#all}${epoch}:`;
  }

  /** @throws FenceError when it is not known: a call would be refused */
  get epoch(): string {
    if (this.#epoch === undefined) throw new FenceError(this.partition, "epoch");
    return this.#epoch;
  }

  /** hash: the fence (layout, installation, epoch, timeline), the number of the last journal entry, and `cleared` (lua/clear_older.lua) */
  get meta(): string {
    return `${this.#all}meta`;
  }
  /** What SCAN matches all keys of the partition by. Namespaces have no character that means something in a pattern. */
  get pattern(): string {
    return `${this.#all}*`;
  }
  /** Does a key of this partition belong to another epoch (or to a release that had none in its keys)? */
  isOfAnother(key: string): boolean {
    return key !== this.meta && !key.startsWith(this.#prefix);
  }
  get #prefix(): string {
    if (this.#epoch === undefined) throw new FenceError(this.partition, "epoch");
    return this.#own;
  }
  /** stream: what happened */
  get journal(): string {
    return `${this.#prefix}journal`;
  }
  /** sorted set: tokens handed out, by the time at which their lease ends */
  get leases(): string {
    return `${this.#prefix}leases`;
  }
  /** sorted set: workers, by the time until which their processes are known to live */
  get workers(): string {
    return `${this.#prefix}workers`;
  }
  /** hash: what each of these workers listed last (lua/lib/workers.lua) */
  get listings(): string {
    return `${this.#prefix}listings`;
  }
  /** hash: what was going on in a worker whose loop does not turn, or that is about to end: JSON {text, begun} */
  get lastWords(): string {
    return `${this.#prefix}last_words`;
  }
  /** sorted set: tokens that wait for a time, by that time */
  get timers(): string {
    return `${this.#prefix}timers`;
  }
  /** stream of one entry: wakes the reader */
  get nudge(): string {
    return `${this.#prefix}nudge`;
  }
  /** set: names of the queues that have had a worker */
  get queues(): string {
    return `${this.#prefix}queues`;
  }
  /** stream: tokens that wait for a worker of this queue; with a function: for one that offers it */
  ready(queue: string, functionName?: string): string {
    return `${this.#prefix}ready:${streamName(queue, functionName)}`;
  }
  /** hash: the function streams that exist, those of suspects included, by `functionField` (lua/lib/offers.lua) */
  get functions(): string {
    return `${this.#prefix}functions`;
  }
  /** stream: tokens of this queue that are performed with nothing else in their process; with a function: for a worker that offers it */
  suspects(queue: string, functionName?: string): string {
    return `${this.#prefix}suspects:${streamName(queue, functionName)}`;
  }
  stream({ queue, functionName, suspects }: StreamPlace): string {
    return suspects ? this.suspects(queue, functionName) : this.ready(queue, functionName);
  }
  /** hash: one run's state (fields: lua/lib/fields.lua) */
  run(runId: string): string {
    return `${this.#prefix}run:${runId}`;
  }
  /** list: tokens of a run that wait for another to give its permits back (max_parallel_nodes, semaphores) */
  parked(runId: string): string {
    return `${this.#prefix}parked:${runId}`;
  }
  /** set: scopes of a run's map items that are under way */
  scopes(runId: string): string {
    return `${this.#prefix}scopes:${runId}`;
  }
  /** string with a TTL: this run was here and is over */
  tombstone(runId: string): string {
    return `${this.#prefix}gone:${runId}`;
  }
  /** hash: packed adjacency of one IR, one field per node */
  ir(digest: string): string {
    return `${this.#prefix}ir:${digest}`;
  }
  /** string: one large output */
  blob(runId: string, name: string): string {
    return `${this.#prefix}blob:${runId}:${name}`;
  }
}

const PLAIN_NAME = /^[\w.-]+$/;

/** A queue, or a function of it, as a part of key names. A queue's name contains no `/`; a function's may be any text. */
function streamName(queue: string, functionName?: string): string {
  if (functionName === undefined) return queue;
  const isPlain = PLAIN_NAME.test(functionName);
  return `${queue}/${isPlain ? functionName : encodeURIComponent(JSON.stringify(functionName))}`;
}

/** What a script calls a stream of suspects. No queue's name begins so. */
const SUSPECTS = "!";

/** The name of a queue's suspects among the streams of a call (lua/lib/losses.lua). */
export const suspectsName = (queue: string): string => `${SUSPECTS}${queue}`;

/** The field of a function stream in the hash of those that exist. */
export function functionField({ queue, functionName, suspects }: FunctionStream): string {
  return `${suspects ? SUSPECTS : ""}${streamName(queue, functionName)}`;
}

export function parseFunctionField(field: string): FunctionStream {
  const suspects = field.startsWith(SUSPECTS);
  const [queue = "", code = ""] = field.slice(suspects ? SUSPECTS.length : 0).split("/");
  const functionName = PLAIN_NAME.test(code) ? code : JSON.parse(decodeURIComponent(code));
  return { queue, functionName, ...(suspects && { suspects }) };
}

/** Pub/Sub channel on which workers hear of halted runs. */
export function controlChannel(namespace: string): string {
  return `${namespace}:control`;
}

/** Pub/Sub channel of a run's state changes. */
export function stateChannel(runId: string): string {
  return `workflow:${runId}:state`;
}
