import { Environment } from "@marcbachmann/cel-js";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { compile } from "../../src/workflow/compile/compile.ts";
import { type Bindings, type Expression, evaluate, type Json, NoValue, renderCel } from "./expression.ts";
import { before, expressionsAt, FEATURES, featuresOf, named } from "./features.ts";
import { ALL_FEATURES } from "./generated_work.ts";
import { simulatedCase } from "./generator.ts";
import { childrenOf, type SimulatedWorkflow } from "./model.ts";
import { renderFile } from "./model_file.ts";
import { type Chooser, play } from "./play.ts";
import { createGame, type GameResult } from "./reference.ts";
import { idIn } from "./reference_scopes.ts";
import { Structure } from "./structure.ts";

/** An order of play drawn from numbers. */
function chooser(picks: readonly number[]): Chooser {
  let turn = 0;
  return (enabled) => enabled[(picks[turn++ % picks.length] ?? 0) % enabled.length]!;
}
const order = fc.array(fc.nat(99), { minLength: 1, maxLength: 14 });
const runs = { numRuns: 60 };

const everything = { features: ALL_FEATURES };

/** Nodes that are over when a node of a graph may run: before it, and before the maps in which it is. */
function ancestors(workflow: SimulatedWorkflow, id: string): Set<string> {
  const structure = new Structure(workflow);
  const found = new Set<string>();
  const walk = (at: string): void => {
    for (const { from } of structure.incoming(at)) if (found.size < found.add(from).size) walk(from);
  };
  walk(id);
  for (const body of structure.bodiesOf(id)) if (body.kind === "map") walk(body.node.id);
  return found;
}

describe("generated workflows", () => {
  it("are valid, and so are those that they start", () => {
    fc.assert(
      fc.property(simulatedCase(everything), ({ workflow, behaviours }) => {
        for (const one of [workflow, ...childrenOf(workflow)]) compile(renderFile(one, behaviours));
      }),
      runs,
    );
  });

  it("name ancestors only, and nothing at or behind a rule that fires early", () => {
    const early: unknown[] = ["one_success", "one_failed"];
    fc.assert(
      fc.property(simulatedCase(everything), ({ workflow }) => {
        const structure = new Structure(workflow);
        for (const node of structure.nodes) {
          const strict = ancestors(workflow, node.id);
          const names = [...named(expressionsAt(node)), ...named(structure.outgoing(node.id))];
          for (const name of names) expect([...strict, node.id]).toContain(name);
          const rules = [node.id, ...strict].map((id) => structure.node(id).trigger_rule);
          if (rules.some((rule) => early.includes(rule) || typeof rule === "object"))
            expect(names).toEqual([]);
        }
      }),
      runs,
    );
  });

  it("cover what the semantics distinguish", () => {
    const counts = new Map<string, number>();
    for (const sample of fc.sample(simulatedCase(everything), { numRuns: 1_000, seed: 2 })) {
      for (const feature of featuresOf(sample)) counts.set(feature, (counts.get(feature) ?? 0) + 1);
    }
    const rare = FEATURES.filter((feature) => (counts.get(feature) ?? 0) < 10);
    expect(rare, JSON.stringify([...counts])).toEqual([]);
  });

  it.each([7, 8, 9])("shrink to a small one that shows a fault (seed %i)", (seed) => {
    const withoutFault = fc.property(
      simulatedCase(everything),
      (sample) => !featuresOf(sample).has("skipped: upstream_failed"),
    );
    const [simplest] = fc.check(withoutFault, { seed, numRuns: 500 }).counterexample!;
    expect(simplest.workflow.nodes.length).toBeLessThanOrEqual(3);
  });
});

describe("games over random workflows and orders", () => {
  it("end, and resolve each execution exactly once", () => {
    const childless = new Set([...ALL_FEATURES].filter((feature) => feature !== "children"));
    fc.assert(
      fc.property(simulatedCase({ features: childless }), order, ({ workflow, input, behaviours }, picks) => {
        const played: string[] = [];
        const result = play(workflow, input, behaviours, (enabled) => {
          played.push(chooser([picks[played.length % picks.length]!])(enabled));
          return played.at(-1)!;
        });
        const resolved = played.filter((move) => !/[?+]$/.test(move));
        expect(new Set(resolved).size).toBe(resolved.length);
        expect(result.status).not.toBe("RUNNING");
        const structure = new Structure(workflow);
        const outside = structure.nodes.filter(({ id }) => structure.bodiesOf(id).length === 0);
        for (const { id } of outside) expect(result.nodes[id]).toBeDefined();
        for (const [key, { status, reason, attempts }] of Object.entries(result.nodes)) {
          const moveless = (status === "SKIPPED" && reason?.kind !== "unless") || attempts === 0;
          if (reason?.kind !== "withdrawn" && reason?.kind !== "unless")
            expect(played.includes(key)).toBe(!moveless);
        }
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
      fc.property(
        simulatedCase({ ...everything, ordered: false }),
        order,
        ({ workflow, input, behaviours }, picks) => {
          const one = play(workflow, input, behaviours);
          const other = play(workflow, input, behaviours, chooser(picks));
          expect(moveless(other)).toEqual(moveless(one));
        },
      ),
      runs,
    );
  });

  it("run no node before its arrivals", () => {
    fc.assert(
      fc.property(simulatedCase(everything), order, ({ workflow, input, behaviours }, picks) => {
        const game = createGame(workflow, input);
        const choose = chooser(picks);
        while (game.enabled().length > 0) {
          const over = new Set(Object.values(game.result().nodes).map(({ node_id }) => node_id));
          for (const { id, trigger_rule: rule } of workflow.nodes.filter(({ id }) =>
            game.enabled().includes(id),
          )) {
            const predecessors = before(workflow, id);
            const early = rule === "one_success" || rule === "one_failed" ? 1 : predecessors.length;
            const needed = typeof rule === "object" ? rule.quorum : Math.min(early, predecessors.length);
            expect(predecessors.filter((from) => over.has(from)).length).toBeGreaterThanOrEqual(needed);
          }
          const next = choose(game.enabled());
          game.resolve(next, behaviours[idIn(next)]);
        }
      }),
      runs,
    );
  });

  it("name a cause that failed unhandled upstream, and only in runs that FAILED", () => {
    fc.assert(
      fc.property(simulatedCase(everything), order, ({ workflow, input, behaviours }, picks) => {
        const { status, nodes } = play(workflow, input, behaviours, chooser(picks));
        const structure = new Structure(workflow);
        for (const { node_id, reason } of Object.values(nodes)) {
          if (reason?.kind !== "upstream_failed") continue;
          const causes = Object.values(nodes).filter((other) => other.node_id === reason.node);
          expect(causes.map((cause) => cause.status)).toContain("FAILED");
          expect(ancestors(workflow, node_id).has(reason.node)).toBe(true);
          const bodies = structure.bodiesOf(reason.node);
          if (bodies.every(({ kind }) => kind !== "map")) expect(status).toBe("FAILED");
          if (bodies.length > 0) continue;
          for (const { from_nodes } of Object.values(nodes)) expect(from_nodes).not.toContain(reason.node);
        }
      }),
      runs,
    );
  });
});

describe("expressions", () => {
  /** The bare library does not follow CEL's definition of `has` (it takes dotted names only, and any owner), and reserves `loop`. */
  it("mean the same in CEL as here", () => {
    let withValue = 0;
    let all = 0;
    fc.assert(
      fc.property(simulatedCase(everything), ({ workflow, input, behaviours }) => {
        const { nodes } = play(workflow, input, behaviours);
        const executions = Object.values(nodes);
        const outputs = Object.fromEntries(executions.map(({ node_id, output }) => [node_id, output]));
        for (const [expression, id] of expressionsOf(workflow)) {
          if (/has\(|loop\./.test(renderCel(expression))) continue;
          const execution = executions.find(({ node_id }) => node_id === id);
          if (execution === undefined) continue;
          const { data, output, error } = execution;
          const item = Array.isArray(data) ? (data[0] ?? null) : 3;
          const bindings: Bindings = {
            variables: {
              data,
              output,
              input,
              error: error && { ...error },
              item,
              index: 0,
              loop: { iteration: 2 },
            },
            nodes: outputs,
          };
          const here = valueHere(expression, bindings);
          expect({ cel: renderCel(expression), value: valueInCel(expression, bindings) }).toEqual({
            cel: renderCel(expression),
            value: here,
          });
          all += 1;
          if (here !== "no value") withValue += 1;
        }
      }),
      runs,
    );
    // Of about 200, two thirds.
    expect(all).toBeGreaterThan(100);
    expect(withValue).toBeGreaterThan(0.4 * all);
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
  const structure = new Structure(workflow);
  const conditions = structure.edges.map(({ condition, from }) => [condition, from] as const);
  const own = structure.nodes.flatMap((node): (readonly [Expression | undefined, string])[] => {
    if (node.type === "transform") return [[node.expression, node.id]];
    if (node.type === "loop") return [[node.condition, node.id]];
    if (node.type === "map") return [[node.items, node.id]];
    if (node.type === "wait" && "until" in node)
      return typeof node.until === "string" ? [] : [[node.until, node.id]];
    return node.type === "filter" ? [[node.filter_expression, node.id]] : [];
  });
  const inputs = structure.nodes.map(({ given, id }) => [given, id] as const);
  return [...conditions, ...own, ...inputs].flatMap(([of, id]): [Expression, string][] =>
    of === undefined ? [] : [[of, id]],
  );
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
  new Environment({ homogeneousAggregateLiterals: false }),
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
