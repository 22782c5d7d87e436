import { Environment } from "@marcbachmann/cel-js";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Bindings, type Expression, evaluate, type Json, NoValue, renderCel } from "./expression.ts";
import { type SimulatedCase, simulatedCase } from "./generator.ts";
import type { SimulatedEdge, SimulatedWorkflow } from "./model.ts";
import { type Chooser, createGame, type GameResult, play } from "./reference.ts";

/** An order of play drawn from numbers. */
function chooser(picks: readonly number[]): Chooser {
  let turn = 0;
  return (enabled) => enabled[(picks[turn++ % picks.length] ?? 0) % enabled.length]!;
}
const order = fc.array(fc.nat(99), { minLength: 1, maxLength: 14 });
const runs = { numRuns: 500 };

const before = (workflow: SimulatedWorkflow, id: string): string[] =>
  workflow.edges.filter((edge) => edge.to === id).map((edge) => edge.from);

function ancestors(workflow: SimulatedWorkflow, id: string): Set<string> {
  return new Set(before(workflow, id).flatMap((from) => [from, ...ancestors(workflow, from)]));
}

function reachable(workflow: SimulatedWorkflow): Set<string> {
  const found = new Set([workflow.nodes[0]!.id]);
  for (let size = 0; size < found.size; ) {
    size = found.size;
    for (const { from, to } of workflow.edges) {
      if (found.has(from)) found.add(to);
      if (found.has(to)) found.add(from);
    }
  }
  return found;
}

/** The nodes that an expression names. */
function named(expression: unknown): string[] {
  if (typeof expression !== "object" || expression === null) return [];
  const own = Reflect.get(expression, "kind") === "node" ? [String(Reflect.get(expression, "id"))] : [];
  return [...own, ...Object.values(expression).flatMap(named)];
}

describe("generated workflows", () => {
  it("are valid: acyclic, connected, without doubles, one default per conditional", () => {
    fc.assert(
      fc.property(simulatedCase(), ({ workflow, behaviours }) => {
        const ids = workflow.nodes.map(({ id }) => id);
        expect(new Set(ids).size).toBe(ids.length);
        expect(reachable(workflow).size).toBe(ids.length);
        for (const id of ids) expect(ancestors(workflow, id).has(id)).toBe(false);
        const ends = workflow.edges.map((edge) => `${edge.from}>${edge.to}`);
        expect(new Set(ends).size).toBe(ends.length);
        for (const node of workflow.nodes) {
          if (node.type === "function") expect(behaviours[node.id]).toBeDefined();
          if (node.type === "conditional")
            expect(defaultsOf(workflow, node.id).length).toBeLessThanOrEqual(1);
        }
      }),
      runs,
    );
  });

  it("name ancestors only, and nothing at or behind one_success", () => {
    fc.assert(
      fc.property(simulatedCase(), ({ workflow }) => {
        const early = new Set(
          workflow.nodes.filter((node) => node.trigger_rule === "one_success").map(({ id }) => id),
        );
        for (const node of workflow.nodes) {
          const strict = ancestors(workflow, node.id);
          const edges = workflow.edges.filter((edge) => edge.from === node.id);
          const names = [...named(node), ...named(edges)];
          for (const name of names) expect(strict.has(name)).toBe(true);
          if ([node.id, ...strict].some((id) => early.has(id))) expect(names).toEqual([]);
        }
      }),
      runs,
    );
  });

  it("cover what the semantics distinguish", () => {
    const counts = new Map<string, number>();
    for (const sample of fc.sample(simulatedCase(), { numRuns: 2500, seed: 1 })) {
      for (const feature of featuresOf(sample)) counts.set(feature, (counts.get(feature) ?? 0) + 1);
    }
    const rare = FEATURES.filter((feature) => (counts.get(feature) ?? 0) < 20);
    expect(rare, JSON.stringify([...counts])).toEqual([]);
  });

  it.each([7, 8, 9])("shrink to a small one that shows a fault (seed %i)", (seed) => {
    const withoutFault = fc.property(
      simulatedCase(),
      (sample) => !featuresOf(sample).has("skipped: upstream_failed"),
    );
    const [simplest] = fc.check(withoutFault, { seed, numRuns: 1000 }).counterexample!;
    expect(simplest.workflow.nodes.length).toBeLessThanOrEqual(3);
  });
});

function defaultsOf(workflow: SimulatedWorkflow, id: string): SimulatedEdge[] {
  return workflow.edges.filter(
    (edge) => edge.from === id && edge.on === undefined && edge.condition === undefined,
  );
}

const FEATURES = [
  "skipped: not_taken",
  "skipped: upstream_failed",
  "run COMPLETED",
  "run FAILED",
  "handled failure",
  "handled CONDITION_FAILED",
  "CONDITION_FAILED",
  "FILTER_NOT_A_LIST",
  "AGGREGATE_NOT_A_NUMBER",
  "NOT_FIXED",
  "filter kept some",
  "aggregate completed",
  "one_success fired early",
  "all_done after a failure",
  "join behind a branch",
  "conditional took its default",
  "conditional took several",
  "conditional took none",
  "ten or more nodes",
  "fan of five",
  "two entries",
  "expression for the output",
  "names an ancestor",
  "answered after several tries",
  "failed after several tries",
  "failed for good though it had tries left",
  "TIMED_OUT",
  "limited",
  "halted",
  "halted with executions under way",
];

/** What happens in a case that is played in the default order. */
function featuresOf({ workflow, input, behaviours }: SimulatedCase): Set<string> {
  const result = play(workflow, input, behaviours);
  return new Set([
    `run ${result.status}`,
    ...workflow.nodes.flatMap((node) => featuresOfNode(workflow, result, node.id)),
    ...(workflow.nodes.length >= 10 ? ["ten or more nodes"] : []),
    ...(workflow.nodes.filter(({ id }) => before(workflow, id).length === 0).length > 1
      ? ["two entries"]
      : []),
    ...(workflow.output === undefined ? [] : ["expression for the output"]),
    ...(named([workflow.nodes, workflow.edges]).length > 0 ? ["names an ancestor"] : []),
    ...(workflow.max_parallel_nodes === undefined ? [] : ["limited"]),
    ...(result.halted === null ? [] : ["halted"]),
    ...(Object.values(result.nodes).some(({ status, attempts }) => status === "CANCELLED" && attempts > 0)
      ? ["halted with executions under way"]
      : []),
  ]);
}

function featuresOfNode(workflow: SimulatedWorkflow, result: GameResult, id: string): string[] {
  const node = workflow.nodes.find((other) => other.id === id)!;
  const { status, reason, error, output, attempts, from_nodes } = result.nodes[id]!;
  const predecessors = before(workflow, id);
  const edges = workflow.edges.filter((edge) => edge.from === id);
  const taken = edges.filter((edge) => result.nodes[edge.to]!.from_nodes.includes(id));
  const skipped = predecessors.filter((from) => result.nodes[from]!.reason?.kind === "not_taken");
  const handled = error !== null && taken.length > 0;
  const features: [boolean, string][] = [
    [reason !== null, `skipped: ${reason?.kind}`],
    [error !== null, error?.code ?? ""],
    [handled, error?.code === "CONDITION_FAILED" ? "handled CONDITION_FAILED" : "handled failure"],
    [node.type === "filter" && Array.isArray(output) && output.length > 0, "filter kept some"],
    [node.type === "aggregate" && status === "COMPLETED", "aggregate completed"],
    [
      node.trigger_rule === "one_success" && status !== "SKIPPED" && predecessors.length > 1,
      "one_success fired early",
    ],
    [
      node.trigger_rule === "all_done" &&
        predecessors.some((from) => result.nodes[from]!.status === "FAILED"),
      "all_done after a failure",
    ],
    [skipped.length > 0 && from_nodes.length > 0, "join behind a branch"],
    [edges.length >= 5, "fan of five"],
    [status === "COMPLETED" && attempts > 1, "answered after several tries"],
    [status === "FAILED" && attempts > 1, "failed after several tries"],
    [
      status === "FAILED" && node.type === "function" && attempts < (node.retry?.max_attempts ?? 1),
      "failed for good though it had tries left",
    ],
  ];
  if (node.type === "conditional" && status === "COMPLETED" && edges.length > 1) {
    features.push([
      defaultsOf(workflow, id).some((edge) => taken.includes(edge)),
      "conditional took its default",
    ]);
    features.push(
      [taken.length > 1, "conditional took several"],
      [taken.length === 0, "conditional took none"],
    );
  }
  return features.filter(([holds]) => holds).map(([, name]) => name);
}

describe("games over random workflows and orders", () => {
  it("end, and resolve each node exactly once", () => {
    fc.assert(
      fc.property(simulatedCase(), order, ({ workflow, input, behaviours }, picks) => {
        const played: string[] = [];
        const result = play(workflow, input, behaviours, (enabled) => {
          played.push(chooser([picks[played.length % picks.length]!])(enabled));
          return played.at(-1)!;
        });
        expect(new Set(played).size).toBe(played.length);
        expect(result.status).not.toBe("RUNNING");
        expect(Object.keys(result.nodes).sort()).toEqual(workflow.nodes.map(({ id }) => id).sort());
        for (const [id, node] of Object.entries(result.nodes))
          expect(node.status !== "SKIPPED" && (node.status !== "CANCELLED" || node.attempts > 0)).toBe(
            played.includes(id),
          );
      }),
      runs,
    );
  });

  it("have the same outcome in any order when no node fires early", () => {
    const moveless = ({ nodes, status, output }: GameResult): unknown => ({
      status,
      output,
      nodes: Object.fromEntries(Object.entries(nodes).map(([id, { move: _move, ...node }]) => [id, node])),
    });
    fc.assert(
      fc.property(simulatedCase({ ordered: false }), order, ({ workflow, input, behaviours }, picks) => {
        const one = play(workflow, input, behaviours);
        const other = play(workflow, input, behaviours, chooser(picks));
        expect(moveless(other)).toEqual(moveless(one));
      }),
      runs,
    );
  });

  it("run no node before its arrivals", () => {
    fc.assert(
      fc.property(simulatedCase(), order, ({ workflow, input, behaviours }, picks) => {
        const game = createGame(workflow, input);
        const choose = chooser(picks);
        while (game.enabled().length > 0) {
          const { nodes } = game.result();
          for (const node of workflow.nodes.filter(({ id }) => game.enabled().includes(id))) {
            const predecessors = before(workflow, node.id);
            const over = predecessors.filter((from) => nodes[from] !== undefined);
            const needed =
              node.trigger_rule === "one_success" ? Math.min(1, predecessors.length) : predecessors.length;
            expect(over.length).toBeGreaterThanOrEqual(needed);
          }
          const next = choose(game.enabled());
          game.resolve(next, behaviours[next]);
        }
      }),
      runs,
    );
  });

  it("name a cause that failed unhandled upstream, and only in runs that FAILED", () => {
    fc.assert(
      fc.property(simulatedCase(), order, ({ workflow, input, behaviours }, picks) => {
        const { status, nodes } = play(workflow, input, behaviours, chooser(picks));
        for (const [id, { reason }] of Object.entries(nodes)) {
          if (reason?.kind !== "upstream_failed") continue;
          expect(status).toBe("FAILED");
          expect(nodes[reason.node]!.status).toBe("FAILED");
          expect(ancestors(workflow, id).has(reason.node)).toBe(true);
          for (const { from_nodes } of Object.values(nodes)) expect(from_nodes).not.toContain(reason.node);
        }
      }),
      runs,
    );
  });
});

describe("expressions", () => {
  /** The bare library does not follow CEL's definition of `has` (it takes dotted names only, and any owner). */
  it("mean the same in CEL as here", () => {
    let withValue = 0;
    fc.assert(
      fc.property(simulatedCase(), ({ workflow, input, behaviours }) => {
        const { nodes } = play(workflow, input, behaviours);
        const outputs = Object.fromEntries(Object.entries(nodes).map(([id, node]) => [id, node.output]));
        for (const [expression, id] of expressionsOf(workflow)) {
          if (renderCel(expression).includes("has(")) continue;
          const { data, output, error } = nodes[id]!;
          const item = Array.isArray(data) ? (data[0] ?? null) : 3;
          const bindings: Bindings = {
            variables: { data, output, input, error: error && { ...error }, item, index: 0 },
            nodes: outputs,
          };
          const here = valueHere(expression, bindings);
          expect({ cel: renderCel(expression), value: valueInCel(expression, bindings) }).toEqual({
            cel: renderCel(expression),
            value: here,
          });
          if (here !== "no value") withValue += 1;
        }
      }),
      runs,
    );
    expect(withValue).toBeGreaterThan(300);
  });
});

it("has() asks for the last field of an object; null has none, all else is an error", () => {
  const bindings: Bindings = { variables: { data: { a: { b: 1 }, c: 2, d: null } }, nodes: { n: { a: 1 } } };
  const has = (...path: string[]): Json =>
    valueHere({ kind: "has", of: { kind: "field", of: "data", path } }, bindings);
  expect([has("a"), has("x"), has("a", "b"), has("d")]).toEqual([true, false, true, true]);
  expect([has("x", "y"), has("c", "y"), has("d", "y")]).toEqual(["no value", "no value", false]);
  expect(valueHere({ kind: "has", of: { kind: "node", id: "n", path: ["a"] } }, bindings)).toBe(true);
});

function expressionsOf(workflow: SimulatedWorkflow): [Expression, string][] {
  return [
    ...workflow.edges.flatMap((edge): [Expression, string][] =>
      edge.condition ? [[edge.condition, edge.from]] : [],
    ),
    ...workflow.nodes.flatMap((node): [Expression, string][] => {
      if (node.type === "transform") return [[node.expression, node.id]];
      return node.type === "filter" ? [[node.filter_expression, node.id]] : [];
    }),
  ];
}

function valueHere(expression: Expression, bindings: Bindings): Json {
  try {
    return evaluate(expression, bindings);
  } catch (error) {
    if (error instanceof NoValue) return "no value";
    throw error;
  }
}

const cel = ["data", "output", "input", "error", "item", "index", "nodes"].reduce(
  (environment, name) => environment.registerVariable(name, "dyn"),
  new Environment(),
);

function valueInCel(expression: Expression, { variables, nodes }: Bindings): Json {
  const parsed = cel.parse(renderCel(expression));
  const checked = parsed.check();
  if (!checked.valid) throw new Error(`${renderCel(expression)}: ${checked.error?.message}`);
  const byId = Object.fromEntries(Object.entries(nodes).map(([id, output]) => [id, { output }]));
  const context = { ...(toCel({ ...variables }) as object), nodes: toCel(byId) };
  try {
    return fromCel(parsed(context));
  } catch {
    return "no value";
  }
}

function toCel(value: unknown): unknown {
  if (typeof value === "number" && Number.isInteger(value)) return BigInt(value);
  if (Array.isArray(value)) return value.map(toCel);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, toCel(inner)]));
}

function fromCel(value: unknown): Json {
  if (typeof value === "bigint") return Number(value);
  if (Array.isArray(value)) return value.map(fromCel);
  if (typeof value !== "object" || value === null) return value as Json;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, fromCel(inner)]));
}
