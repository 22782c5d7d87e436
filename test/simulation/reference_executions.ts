/** The executions of a game: which are active, how the others ended, and what is seen of them from a scope. */
import { evaluate, type Json, type JsonObject } from "./expression.ts";
import type { SimulatedNode, SimulatedWorkflow } from "./model.ts";
import type { NodeResult } from "./reference.ts";
import type { Items } from "./reference_items.ts";
import { attempt, type Place } from "./reference_nodes.ts";
import { enclosing, type Frame, isWithin, keyOf, type Scopes } from "./reference_scopes.ts";
import type { Structure } from "./structure.ts";

/** An execution that is not over. */
export interface Execution {
  key: string;
  node: SimulatedNode;
  frame: Frame;
  /** undefined: its `input` has no value, by which it fails. */
  data: Json | undefined;
  /** Those of its predecessors that it fired on, and all of them. */
  from: string[];
  predecessors: string[];
  /** Of a map that could begin its items. */
  items?: Items;
  /** The event that it waits for has arrived. */
  woken?: boolean;
  /** Completed before this one was activated, which therefore is skipped. */
  forestalledBy?: string | undefined;
}

type Ending = Pick<NodeResult, "status" | "attempts"> & Partial<NodeResult>;

const NOTHING = {
  reason: null,
  output: null,
  error: null,
  data: null,
  from_nodes: [],
  not_before: null,
};

export class Executions {
  readonly active = new Map<string, Execution>();
  readonly over = new Map<string, NodeResult>();
  /** Keys of executions that completed and took no edge. */
  readonly #ended = new Set<string>();
  /** Moves so far. */
  moves = 0;
  readonly #structure: Structure;
  readonly #scopes: Scopes;
  readonly #input: Json;

  constructor(structure: Structure, scopes: Scopes, input: Json) {
    this.#structure = structure;
    this.#scopes = scopes;
    this.#input = input;
  }

  knows(key: string): boolean {
    return this.active.has(key) || this.over.has(key);
  }

  activeIn(frame: Frame): Execution[] {
    return [...this.active.values()].filter((execution) => isWithin(execution.frame, frame));
  }

  end({ key, node, frame, data, from }: Execution, ending: Ending): NodeResult {
    const ran = ending.status === "COMPLETED" || ending.status === "FAILED";
    const given = { data: (ran ? data : null) ?? null, from_nodes: from, move: this.moves };
    const result = { ...NOTHING, node_id: node.id, scope: frame.scope, ...given, ...ending };
    this.active.delete(key);
    this.over.set(key, result);
    return result;
  }

  neverActivated(id: string): NodeResult {
    return { ...NOTHING, node_id: id, scope: "", status: "CANCELLED", attempts: 0, move: this.moves };
  }

  /** An execution is the last of its path: it completed, and took no edge. */
  endPath({ key }: Execution): void {
    this.#ended.add(key);
  }

  /**
   * What the nodes gave that ended a scope's paths: where the graph has one terminal node at most, and one node ended it, that
   * node's output; else an object of all that did.
   */
  outputIn(frame: Frame): Json {
    const ended = this.#structure.direct(frame.body).filter((id) => {
      const last = this.#lastResult(id, frame);
      return last !== undefined && this.#ended.has(keyOf(id, last.scope));
    });
    const outputs = ended.map((id) => [id, this.#lastResult(id, frame)!.output] as const);
    if (this.#structure.terminals(frame.body).length <= 1 && outputs.length <= 1)
      return outputs[0]?.[1] ?? null;
    return Object.fromEntries(outputs);
  }

  outputOfRun({ output }: SimulatedWorkflow): Json {
    const { root } = this.#scopes;
    if (output === undefined) return this.outputIn(root);
    return evaluate(output, { variables: { input: this.#input }, nodes: this.#outputsSeenFrom(root) });
  }

  /** The first of these nodes that has completed, as seen from a scope. */
  completedOf(ids: readonly string[] | undefined, frame: Frame): string | undefined {
    return ids?.find((id) => this.#lastResult(id, frame)?.status === "COMPLETED");
  }

  placeOf({ node, frame, data, predecessors }: Execution, more: Record<string, Json> = {}): Place {
    const loop = enclosing(frame, "loop");
    const item = enclosing(frame, "map");
    const variables = {
      ...(data === undefined ? {} : { data }),
      input: this.#input,
      ...(loop === undefined ? {} : { loop: { iteration: loop.index } }),
      ...(item === undefined ? {} : { item: item.item, index: item.index }),
      ...more,
    };
    const bindings = { variables, nodes: this.#outputsSeenFrom(frame) };
    // What replaces its data is one value, whoever came before.
    const sources = node.given === undefined ? predecessors : [];
    return { node, edges: this.#structure.outgoing(node.id), bindings, predecessors: sources };
  }

  /** What an execution works on: what its `input` makes of what it was given; undefined: that has no value. */
  replacedData(execution: Execution): Json | undefined {
    const { given } = execution.node;
    if (given === undefined) return execution.data;
    const found = attempt(() => ({ value: evaluate(given, this.placeOf(execution).bindings) }));
    return found?.value;
  }

  /** The execution of a node that is seen from a scope. */
  #lastResult(id: string, from: Frame): NodeResult | undefined {
    const frame = this.#scopes.lastFrameOf(id, from);
    return frame && this.over.get(keyOf(id, frame.scope));
  }

  #outputsSeenFrom(frame: Frame): JsonObject {
    const { nodes } = this.#structure;
    return Object.fromEntries(nodes.map(({ id }) => [id, this.#outputSeenFrom(frame, id)]));
  }

  /** Of a loop that was left: of the last iteration in which its loop node ran. */
  #outputSeenFrom(from: Frame, id: string): Json {
    const last = this.#scopes.lastFrameOf(id, from);
    const isLeft = last !== undefined && !isWithin(from, last);
    const frames = isLeft ? this.#scopes.iterationsOf(last) : [last].filter((frame) => frame !== undefined);
    const results = frames.map(({ scope }) => this.over.get(keyOf(id, scope)));
    const ran = results.findLast((result) => result?.status === "COMPLETED" || result?.status === "FAILED");
    return ran?.output ?? null;
  }
}
