/**
 * Random workflows for the simulation, always valid: without cycles but those of loops, connected, without double edges, one
 * default per conditional, expressions that name ancestors only, bodies with one way in and one way out.
 *
 * A workflow grows from a list of genes, one per node, each of which says how the node hangs on the nodes before it
 * (`shape`) and what it does. Whatever the genes, `grow` makes a valid workflow of them, so shrinking just drops genes and
 * simplifies them: the simplest workflow is one function, the next a chain.
 *
 * `nodes["id"].output` is not used at or behind a node whose rule fires early, which may run before an ancestor has resolved:
 * whether it sees that ancestor's output would be a race.
 */
import fc from "fast-check";
import type { JsonObject } from "./expression.ts";
import { condition, given } from "./generated_expressions.ts";
import { code, hostile, message, retry, runInput, steady, weighted } from "./generated_values.ts";
import { ALL_FEATURES, type Choice, type Feature, sometimes, work } from "./generated_work.ts";
import { type Adaptive, type EdgeGene, type NodeGene, SEMAPHORES, type Shape } from "./genes.ts";
import { grow } from "./growth.ts";
import type { Behaviour, Behaviours, SimulatedWorkflow, TriggerRule } from "./model.ts";
import { renderFile } from "./model_file.ts";

/** How deep bodies nest. */
const DEPTH = 2;

/** A workflow with all that a run of it needs, and as the file that the engine reads. */
export interface SimulatedCase {
  workflow: SimulatedWorkflow;
  input: JsonObject;
  behaviours: Behaviours;
  file: JsonObject;
}

/** What is generated: HITZERO_SIMULATION_FEATURES names it (with commas); by default everything. */
const ENGINE_FEATURES: ReadonlySet<Feature> = featuresNamed(process.env.HITZERO_SIMULATION_FEATURES ?? "all");

function featuresNamed(names: string): ReadonlySet<Feature> {
  const asked = names.split(",");
  return new Set([...ALL_FEATURES].filter((feature) => names === "all" || asked.includes(feature)));
}

export interface GeneratorOptions {
  /** At most this many nodes, those in bodies not counted; default 14. */
  maxNodes?: number;
  /** With false no rule fires early, no run fails fast and nothing is withdrawn or kept from running, so the outcome does not
   * depend on the order. Default true. */
  ordered?: boolean;
  /** Default: what the engine can do. */
  features?: ReadonlySet<Feature>;
}

/** Random workflows with an input and the behaviours of their functions. */
export function simulatedCase(options: GeneratorOptions = {}): fc.Arbitrary<SimulatedCase> {
  const { ordered = true, features = ENGINE_FEATURES } = options;
  const genes = fc.record({
    nodes: fc.array(nodeGene({ ordered, features }, DEPTH), {
      minLength: 1,
      maxLength: options.maxNodes ?? 14,
      size: "max",
    }),
    run: fc.record({
      output: weighted<number[] | null>(
        [6, fc.constant(null)],
        [1, fc.array(fc.nat(13), { minLength: 1, maxLength: 3 })],
      ),
      maxParallelNodes: weighted<number | null>([4, fc.constant(null)], [1, fc.integer({ min: 1, max: 3 })]),
      failFast: weighted([6, fc.constant(false)], ...(ordered ? [[1, fc.constant(true)] as const] : [])),
    }),
    input: runInput,
  });
  return genes.map(({ nodes, run, input }) => {
    const grown = grow(nodes, run);
    return { ...grown, input, file: renderFile(grown.workflow, grown.behaviours) };
  });
}

const edgeGene: fc.Arbitrary<EdgeGene> = fc.record({
  on: weighted<EdgeGene["on"]>(
    [12, fc.constant("success")],
    [2, fc.constant("failure")],
    [2, fc.constant("always")],
  ),
  conditioned: fc.nat(9),
  condition,
  priority: fc.integer({ min: 1, max: 3 }),
  position: weighted([3, fc.constant(0)], [1, fc.nat(9)]),
});

const EARLY: readonly TriggerRule[] = ["one_success", "one_failed", { quorum: 1 }, { quorum: 2 }];
const LATE: readonly TriggerRule[] = [
  "all_success",
  "all_success",
  "all_success",
  "all_success",
  "all_success",
  "all_success",
  "none_failed",
  "all_failed",
  "all_failed",
  "all_failed",
];

function ruleGene({ ordered, features }: Choice): fc.Arbitrary<TriggerRule | null> {
  const all = features.has("rules");
  const early = all ? EARLY : EARLY.slice(0, 1);
  return weighted<TriggerRule | null>(
    [9, fc.constant(null)],
    [1, fc.constant("none_failed_min_one_success")],
    [2, fc.constant("all_done")],
    ...(all ? [[18, fc.constantFrom(...LATE)] as const] : []),
    ...(ordered ? [[6, fc.constantFrom(...early)] as const] : []),
  );
}

function nodeGene(choice: Choice, depth: number): fc.Arbitrary<NodeGene> {
  const { ordered, features } = choice;
  const withdraws = ordered && features.has("withdrawal");
  return fc.record({
    shape: weighted<Shape>(
      [6, fc.constant("chain")],
      [6, fc.constant("sibling")],
      [4, fc.constant("leaves")],
      [4, fc.constant("pick")],
      [1, fc.constant("entry")],
    ),
    picks: fc.array(fc.nat(13), { minLength: 1, maxLength: 3 }),
    work: work(choice, depth, nodeGene),
    input: weighted<Adaptive | null>([7, fc.constant(null)], [1, given]),
    rule: ruleGene(choice),
    retry,
    edges: fc.array(edgeGene, { minLength: 1, maxLength: 4 }),
    priorities: fc.boolean(),
    position: weighted([3, fc.constant(0)], [1, fc.nat(9)]),
    cancels: sometimes(withdraws, 8, fc.array(fc.nat(13), { maxLength: 2 })),
    cancelsRest: withdraws ? fc.boolean() : fc.constant(false),
    unless: sometimes(ordered && features.has("unless"), 2, fc.nat(13)),
    holds: sometimes(
      features.has("semaphores"),
      6,
      fc.subarray(Object.keys(SEMAPHORES), { minLength: 1 }),
    ).map((held) => held ?? []),
    undone: sometimes(
      features.has("compensation"),
      4,
      weighted<Behaviour>(
        [6, steady],
        [2, fc.record({ kind: fc.constant("fail"), code, message })],
        [1, hostile],
      ),
    ),
  });
}
