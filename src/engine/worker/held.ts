/** An execution as a worker holds it, and what it sees: data, ancestors, the item and iteration that it stands in. */
import type { Log } from "../../base/log.ts";
import { budgetOf, variablesOf } from "../../handlers/execution.ts";
import type { Execution } from "../../handlers/types.ts";
import type { Need, RunTraits } from "../../redis/calls.ts";
import { PARKING } from "../../redis/pack.ts";
import type { Losses } from "../../redis/replies.ts";
import { OUTPUT } from "../../token/letters.ts";
import type { IR, IRNode } from "../../workflow/ir/ir.ts";
import { programsOf } from "../../workflow/ir/programs.ts";
import { itemIndexOf, iterationOf, scopePrefix, storageDepth } from "../../workflow/ir/scopes.ts";

/**
 * An output as the run's state holds it: `j<JSON>`, or `e<JSON>`, the `{"error": …}` that dependents of a failed execution
 * see. Blobs are read before they come here.
 */
export type StoredOutput = string;

export interface HeldExecution {
  runId: string;
  generation: number;
  digest: string;
  ir: IR;
  nodeIndex: number;
  scope: string;
  attempt: number;
  delivery: number;
  nonce: string;
  sources: readonly number[];
  /** Output of each source; null: it has none. */
  inputs: readonly (StoredOutput | null)[];
  /** Outputs of ancestors that expressions name. */
  needs: ReadonlyMap<number, StoredOutput | null>;
  /** JSON of the run's input. */
  input: string;
  /** Item of the innermost map around it. */
  item?: unknown;
  /** What woke it (field p of the run's state): it has waited. */
  woken?: string;
  /** Workers that were lost with it. */
  losses?: Losses;
  /** Tokens handed over in a row up to this one. */
  hops: number;
  /** When the first of them came, as `performance.now()`. */
  since: number;
  /** State of the execution that handed it over, when that was the last of another item. */
  follows?: string;
}

export const nodeOf = (held: HeldExecution) => held.ir.nodes[held.nodeIndex] as IRNode;

const traitsKnown = new WeakMap<IR, RunTraits>();

export function traitsOf(ir: IR): RunTraits {
  let traits = traitsKnown.get(ir);
  if (traits === undefined) {
    traits = {
      limited: ir.max_parallel_nodes > 0 || Object.keys(ir.semaphores).length > 0,
      mapped: ir.bodies.some(({ kind }) => kind === "map"),
    };
    traitsKnown.set(ir, traits);
  }
  return traits;
}

/** Where the output of a node is kept, as seen from an execution. */
export function needOf(ir: IR, node: number, scope: string): Need {
  const at = scope === "" ? "" : scopePrefix(scope, storageDepth(ir, node));
  return [node, at === "" ? `o${node}` : `o${node}@${at}`];
}

/** Where the state of an execution is kept. */
function stateOf(node: number, scope: string): Need {
  return [node, scope === "" ? `n${node}` : `n${node}@${scope}`];
}

/** Performed to undo another one, when its run is over but for that: no halt concerns it. */
export const isCompensation = (held: HeldExecution): boolean => nodeOf(held).compensates !== undefined;

/** State of an execution that ended its item, as seen from the one that it was followed by; undefined: they are of the same item. */
export function stateOfFormerItem(
  before: HeldExecution,
  next: { node: number; scope: string },
): string | undefined {
  if (before.scope === "") return undefined;
  const former = itemIndexOf(before.ir, before.nodeIndex, before.scope);
  const place = next.scope === "" ? undefined : itemIndexOf(before.ir, next.node, next.scope);
  if (former === undefined || place === undefined) return undefined;
  if (former.map === place.map && former.scope === place.scope && former.index === place.index)
    return undefined;
  return stateOf(before.nodeIndex, before.scope)[1];
}

/** Fields of the run's state on which an execution hangs: its own, and those of the maps around it. */
export function lifelines({ ir, nodeIndex, scope }: HeldExecution): { own: string; maps: string[] } {
  const maps: string[] = [];
  for (let node = nodeIndex, at = scope; at !== ""; ) {
    const place = itemIndexOf(ir, node, at);
    if (place === undefined) break;
    maps.push(place.scope === "" ? `M${place.map}` : `M${place.map}@${place.scope}`);
    node = place.map;
    at = place.scope;
  }
  return { own: stateOf(nodeIndex, scope)[1], maps };
}

/** What a call that takes a token up says of its node. */
export function claimTraits(ir: IR, nodeIndex: number, scope: string) {
  const node = ir.nodes[nodeIndex] as IRNode;
  return {
    ...traitsOf(ir),
    needs: node.needs.map((need) => needOf(ir, need, scope)),
    waits: PARKING.has(node.type),
    withdraws: node.cancels_at === "event",
    guarded: node.holds !== undefined,
    ...(node.unless ? { unless: node.unless.map((other) => stateOf(other, scope)) } : {}),
  };
}

const parseOutput = (stored: StoredOutput | null | undefined): unknown =>
  stored === null || stored === undefined ? null : JSON.parse(stored.slice(1));

/** By name, an ancestor that did not complete has no output. */
const parseCompleted = (stored: StoredOutput | null): unknown =>
  stored?.startsWith(OUTPUT.json) ? parseOutput(stored) : null;

/** Makes a value once, when first asked. */
function lazily<T>(make: () => T): () => T {
  let known: { value: T } | undefined;
  return () => {
    known ??= { value: make() };
    return known.value;
  };
}

/** Came it here by going round once more? Then its data is what its loop node put out. */
function isRepeated({ ir, nodeIndex, sources }: HeldExecution): boolean {
  const only = sources.length === 1 ? ir.nodes[sources[0] as number] : undefined;
  return only?.loop?.entry === nodeIndex;
}

function dataOf(held: HeldExecution, node: IRNode, isJoin: boolean): unknown {
  if (!isJoin && (node.in.length > 0 || node.compensates !== undefined || isRepeated(held)))
    return parseOutput(held.inputs[0]);
  if (!isJoin) return isInMap(held) ? held.item : JSON.parse(held.input);
  const data: Record<string, unknown> = {};
  held.sources.forEach((source, index) => {
    data[held.ir.nodes[source]?.id as string] = parseOutput(held.inputs[index]);
  });
  return data;
}

const isInMap = ({ ir, nodeIndex, scope }: HeldExecution) =>
  scope !== "" && itemIndexOf(ir, nodeIndex, scope) !== undefined;

function ancestorsOf(held: HeldExecution): Record<string, { output: unknown }> {
  const ancestors: Record<string, { output: unknown }> = {};
  for (const [index, output] of held.needs) {
    const read = lazily(() => parseCompleted(output));
    Object.defineProperty(ancestors, held.ir.nodes[index]?.id as string, {
      enumerable: true,
      get: () => ({ output: read() }),
    });
  }
  return ancestors;
}

/** With an item that may be changed. The item itself is there once, for all executions of a worker that stand in it. */
export function ownCopy(held: HeldExecution): HeldExecution {
  const { item } = held;
  return typeof item === "object" && item !== null ? { ...held, item: structuredClone(item) } : held;
}

/** The execution as node types and handlers see it. */
export function viewOf(held: HeldExecution, abort: { signal: AbortSignal }, log: () => Log): Execution {
  const node = nodeOf(held);
  const { ir, nodeIndex, scope } = held;
  const isJoin = node.in.length > 1 && !isRepeated(held);
  const readData = lazily(() => {
    const given = dataOf(held, node, isJoin);
    const replacement = programsOf(ir).input(nodeIndex);
    if (replacement === undefined) return given;
    return replacement.evaluate(variablesOf(view, { data: given }), budgetOf(view));
  });
  const readInput = lazily(() => JSON.parse(held.input));
  const iteration = scope === "" ? undefined : iterationOf(ir, nodeIndex, scope);
  const place = scope === "" ? undefined : itemIndexOf(ir, nodeIndex, scope);
  const view: Execution = {
    ir,
    nodeIndex,
    node,
    runId: held.runId,
    scope,
    attempt: held.attempt,
    sources: held.sources,
    isJoin: isJoin && node.input === undefined,
    get data() {
      return readData();
    },
    get input() {
      return readInput();
    },
    ancestors: ancestorsOf(held),
    around: {
      ...(iteration === undefined ? {} : { loop: { iteration } }),
      ...(place === undefined ? {} : { item: held.item, index: place.index }),
    },
    get signal() {
      return abort.signal;
    },
    get log() {
      return log();
    },
  };
  return view;
}
