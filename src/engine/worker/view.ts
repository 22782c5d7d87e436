/** What an execution sees: its data, its ancestors, the item and iteration that it stands in. Values are parsed when somebody asks. */
import type { Log } from "../../base/log.ts";
import { budgetOf, variablesOf } from "../../handlers/execution.ts";
import type { Execution } from "../../handlers/types.ts";
import { OUTPUT } from "../../token/letters.ts";
import type { IR, IRNode } from "../../workflow/ir/ir.ts";
import { programsOf } from "../../workflow/ir/programs.ts";
import { iterationOf } from "../../workflow/ir/scopes.ts";
import type { Slot, StoredOutput } from "./slot.ts";

const parseOutput = (stored: StoredOutput | null | undefined): unknown =>
  stored === null || stored === undefined ? null : JSON.parse(stored.slice(1));

/** By name, an ancestor that did not complete has no output. */
const parseCompleted = (stored: StoredOutput | null): unknown =>
  stored?.startsWith(OUTPUT.json) ? parseOutput(stored) : null;

/** Not asked for yet. */
const UNREAD: unique symbol = Symbol("unread");

const NO_ANCESTORS: Execution["ancestors"] = Object.freeze({});
const NOTHING_AROUND: Execution["around"] = Object.freeze({});

/** The execution as node types and handlers see it. */
export class View implements Execution {
  readonly ir: IR;
  readonly nodeIndex: number;
  readonly node: IRNode;
  readonly runId: string;
  readonly scope: string;
  readonly attempt: number;
  readonly sources: readonly number[];
  readonly isJoin: boolean;
  readonly ancestors: Execution["ancestors"];
  readonly around: Execution["around"];
  readonly #slot: Slot;
  readonly #abort: { readonly signal: AbortSignal };
  readonly #log: Log;
  readonly #joins: boolean;
  readonly #item: unknown;
  #data: unknown = UNREAD;
  #input: unknown = UNREAD;
  #ownLog: Log | undefined;

  /**
   * @param log the worker's, of which its own is made
   * @param ownsItem its item may be changed. The item itself is there once, for all executions of a worker that stand in it
   */
  constructor(slot: Slot, abort: { readonly signal: AbortSignal }, log: Log, ownsItem = false) {
    const { facts, scope } = slot;
    this.ir = facts.ir;
    this.nodeIndex = slot.nodeIndex;
    this.node = facts.node;
    this.runId = slot.runId;
    this.scope = scope;
    this.attempt = slot.attempt;
    this.sources = slot.sources;
    this.#slot = slot;
    this.#abort = abort;
    this.#log = log;
    this.#joins = facts.node.in.length > 1 && !slot.isRepeated;
    this.isJoin = this.#joins && facts.node.input === undefined;
    this.#item =
      ownsItem && typeof slot.item === "object" && slot.item !== null
        ? structuredClone(slot.item)
        : slot.item;
    this.ancestors = slot.needs.size === 0 ? NO_ANCESTORS : ancestorsOf(slot);
    this.around = scope === "" ? NOTHING_AROUND : this.#around();
  }

  get data(): unknown {
    if (this.#data === UNREAD) this.#data = this.#readData();
    return this.#data;
  }

  get input(): unknown {
    if (this.#input === UNREAD) this.#input = JSON.parse(this.#slot.input);
    return this.#input;
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  get log(): Log {
    this.#ownLog ??= logOf(this.#slot, this.#log);
    return this.#ownLog;
  }

  #around(): Execution["around"] {
    const slot = this.#slot;
    const iteration = iterationOf(this.ir, this.nodeIndex, this.scope);
    const { place } = slot;
    return {
      ...(iteration === undefined ? {} : { loop: { iteration } }),
      ...(place === undefined ? {} : { item: this.#item, index: place.index }),
    };
  }

  #readData(): unknown {
    const given = this.#given();
    if (this.node.input === undefined) return given;
    const replacement = programsOf(this.ir).input(this.nodeIndex);
    if (replacement === undefined) return given;
    return replacement.evaluate(variablesOf(this, { data: given }), budgetOf(this));
  }

  /** Its data, unless an expression of the node's own replaces it. */
  #given(): unknown {
    const { sources, inputs, input, place } = this.#slot;
    if (this.#joins) {
      const data: Record<string, unknown> = {};
      sources.forEach((source, index) => {
        data[this.ir.nodes[source]?.id as string] = parseOutput(inputs[index]);
      });
      return data;
    }
    const follows = this.node.in.length > 0 || this.node.compensates !== undefined || this.#slot.isRepeated;
    if (follows) return parseOutput(inputs[0]);
    return place === undefined ? JSON.parse(input) : this.#item;
  }
}

/** Where an execution stands, for the log. */
export function placeOf({ runId, ir, node, scope, attempt }: Slot): Record<string, unknown> {
  return { run_id: runId, workflow: ir.name, node: node.id, scope, attempt };
}

/** The handler's: its lines say where they come from. */
export function logOf(slot: Slot, log: Log): Log {
  const parent = log as Log & { child?: (bindings: object) => Log };
  return parent.child?.(placeOf(slot)) ?? log;
}

function ancestorsOf({ needs, ir }: Slot): Execution["ancestors"] {
  const ancestors: Record<string, { output: unknown }> = {};
  for (const [index, output] of needs) {
    let known: unknown = UNREAD;
    Object.defineProperty(ancestors, ir.nodes[index]?.id as string, {
      enumerable: true,
      get: () => {
        if (known === UNREAD) known = parseCompleted(output);
        return { output: known };
      },
    });
  }
  return ancestors;
}
