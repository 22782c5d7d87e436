/**
 * Functions that nobody offers. Their tokens wait in function streams until a worker offers them; the partition's reader counts for how long
 * that is nobody's, and fails the nodes when it was too long.
 *
 * Owns nothing: the count is the function stream's, in Redis. It goes on only while some worker of the queue lives and none offers the function,
 * and only while a reader looks on, so it never counts too much.
 */

import { HitzeroError } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import type { Database } from "../../postgres/database.ts";
import { readServices } from "../../postgres/registry.ts";
import type { AdvanceCall } from "../../redis/calls.ts";
import { RedisAwayError } from "../../redis/connection.ts";
import { FenceError } from "../../redis/fence_error.ts";
import { listFunctionStreams, readWaiting, type WaitingEntry } from "../../redis/function_streams.ts";
import type { FunctionStream } from "../../redis/keys.ts";
import type { Partition } from "../../redis/partition.ts";
import { isPostponed } from "../../redis/replies.ts";
import { callAdvance } from "../../redis/scripts/advance.ts";
import { countUnoffered } from "../../redis/scripts/count_unoffered.ts";
import { loadIR } from "../../redis/scripts/load_ir.ts";
import { decodeToken, type ExecutionToken } from "../../token/token.ts";
import type { QueuedFunction } from "../../workflow/ir/function_of.ts";
import type { IR } from "../../workflow/ir/ir.ts";
import type { IRCache } from "../ir_cache.ts";
import { LEASE_MS, type Limits } from "../limits.ts";
import { ItemReader } from "../nodes/map_items.ts";
import { whileAway } from "../while_away.ts";
import { failed } from "../worker/execute.ts";
import { claimTraits } from "../worker/node_facts.ts";
import { Slot } from "../worker/slot.ts";
import { takeInputs } from "../worker/token_inputs.ts";
import { type Round, type Service, WHEN_IT_COMES } from "./service.ts";

/** A reader that looked away for longer does not know what happened meanwhile. */
const LONGEST_LOOK_MS = 5_000;

export interface UnofferedOptions {
  /** Name of the reader. */
  readerId: string;
  /** A node fails when its function was nobody's for this long, ms. */
  timeoutMs: number;
  limits: Limits;
  log: Log;
  stopping: AbortSignal;
}

export class UnofferedClock implements Service {
  readonly #partition: Partition;
  readonly #database: Database;
  readonly #irs: IRCache;
  readonly #options: UnofferedOptions;
  readonly #items: ItemReader;
  #lookedAt = performance.now();
  /** Functions of which the last look said that workers live and none offers them. */
  #unoffered = new Set<string>();

  constructor(partition: Partition, database: Database, irs: IRCache, options: UnofferedOptions) {
    this.#partition = partition;
    this.#database = database;
    this.#irs = irs;
    this.#options = options;
    this.#items = new ItemReader(options.limits);
  }

  async look({ due }: Pick<Round, "due">): Promise<number> {
    if (due) await this.#count();
    return WHEN_IT_COMES;
  }

  /** Counts, and fails what has waited for too long. */
  async #count(): Promise<void> {
    const streams = await listFunctionStreams(this.#partition);
    const services = streams.length === 0 ? [] : await readServices(this.#database, streams);
    const now = performance.now();
    const passed = Math.min(Math.round(now - this.#lookedAt), LONGEST_LOOK_MS);
    this.#lookedAt = now;
    const before = this.#unoffered;
    this.#unoffered = new Set();
    const counts = streams.map((stream, index) => {
      const { read = false, offered = false } = services[index] ?? {};
      const name = `${stream.queue}/${stream.functionName}`;
      const isUnoffered = read && !offered;
      if (isUnoffered) this.#unoffered.add(name);
      return { ...stream, offered, waits: isUnoffered && before.has(name) ? passed : 0 };
    });
    const totals = await countUnoffered(this.#partition, counts);
    for (const [index, { waited, offered }] of totals.entries()) {
      if (waited - offered >= this.#options.timeoutMs)
        await this.#failOf(streams[index] as FunctionStream, waited);
    }
  }

  async #failOf(stream: FunctionStream, waited: number): Promise<void> {
    const { limits, timeoutMs } = this.#options;
    for (const entry of await readWaiting(this.#partition, stream, limits.executions)) {
      if (waited - entry.waited < timeoutMs) break; // those behind it came later
      const token = decodeToken(entry.text);
      if (token?.kind !== "execution") continue;
      try {
        await this.#fail(stream, entry, token);
      } catch (error) {
        if (error instanceof RedisAwayError || error instanceof FenceError) throw error;
        const facts = { run_id: token.runId, node: token.node, error: String(error) };
        this.#options.log.error(facts, "an execution whose function nobody offers cannot be failed");
      }
    }
  }

  /** Claims the execution as a worker does, and resolves it. If this process dies between the two, its lease runs out. */
  async #fail(stream: FunctionStream, entry: WaitingEntry, token: ExecutionToken): Promise<void> {
    const { readerId, log, stopping } = this.#options;
    const ir = await this.#irs.get(token.digest);
    const item = {
      ...token,
      ...stream,
      entry: entry.entry,
      ...claimTraits(ir, token.node, token.scope),
    };
    const { reply, payloads } = await this.#advance(ir, token.digest, { claims: [{ ir, item }] });
    const handed = reply.tokens[0];
    if (!handed) return;
    const slot = new Slot(this.#partition.number, ir, token);
    const reader = { partition: this.#partition, items: this.#items, abandoned: stopping };
    await takeInputs(slot, handed, payloads, undefined, reader);
    const around = {
      workerId: readerId,
      now: () => this.#partition.connection.now(),
      log,
      limits: this.#options.limits,
      mayHandOver: () => ({ next: false, items: false, unoffered: new Set<number>() }),
    };
    const performed = failed(slot, notOffered(stream, this.#options.timeoutMs), around, stopping.aborted);
    await whileAway({ signal: stopping }, () =>
      this.#advance(ir, token.digest, { finished: [{ ir, item: performed.step }] }),
    );
  }

  async #advance(ir: IR, digest: string, items: Partial<Pick<AdvanceCall, "finished" | "claims">>) {
    const call = {
      worker: this.#options.readerId,
      leaseMs: LEASE_MS,
      take: 0,
      reads: [],
      finished: [],
      claims: [],
      ...items,
    };
    for (;;) {
      const answer = await callAdvance(this.#partition, call);
      const words = [...answer.reply.finished, ...answer.reply.claims].map(({ word }) => word);
      if (!words.some(isPostponed)) return answer;
      if (words.includes("ir_missing")) await loadIR(this.#partition, digest, ir);
    }
  }
}

function notOffered({ queue, functionName }: QueuedFunction, timeoutMs: number): HitzeroError {
  return new HitzeroError(
    "HANDLER_NOT_FOUND",
    `no live worker of queue ${queue} has offered the function ${functionName} for ${timeoutMs / 1_000} s`,
    {
      hint: `Export ${functionName} from the module given to --handlers, or correct the name in the workflow.`,
    },
  );
}
