/** What is called impossible never happens: random graphs, played many times with random outcomes. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { compile } from "../../../src/workflow/compile/compile.ts";
import { faultsOf } from "./documents.ts";

type Arrival = "taken" | "not_taken" | "failed";
interface Edge {
  from: number;
  to: number;
  on: "success" | "failure" | "always";
  conditioned: boolean;
}
interface Game {
  /** Of each node. */
  rules: (string | number)[];
  conditionals: boolean[];
  edges: Edge[];
}

const SIZE = 9;
const game: fc.Arbitrary<Game> = fc
  .record({
    rules: fc.array(
      fc.oneof(
        fc.constantFrom(
          "none_failed_min_one_success",
          "all_success",
          "all_success",
          "none_failed",
          "all_done",
        ),
        fc.constantFrom("one_success", "one_failed", "all_failed"),
        fc.integer({ min: 1, max: 4 }),
      ),
      { minLength: SIZE, maxLength: SIZE },
    ),
    conditionals: fc.array(fc.boolean(), { minLength: SIZE, maxLength: SIZE }),
    drawn: fc.uniqueArray(
      fc.record({
        from: fc.nat(SIZE - 1),
        to: fc.nat(SIZE - 1),
        on: fc.constantFrom("success", "success", "success", "failure", "always"),
        conditioned: fc.boolean(),
      }),
      {
        selector: ({ from, to }) => Math.min(from, to) * SIZE + Math.max(from, to),
        minLength: 8,
        maxLength: 18,
      },
    ),
  })
  .map(({ rules, conditionals, drawn }) => {
    const edges = drawn
      .filter(({ from, to }) => from !== to)
      .map(
        (edge): Edge => ({ ...edge, from: Math.min(edge.from, edge.to), to: Math.max(edge.from, edge.to) }),
      );
    const fanIn = (node: number) => edges.filter(({ to }) => to === node).length;
    // One default per conditional, quorums within reach.
    for (const [node, isConditional] of conditionals.entries()) {
      const defaults = edges.filter(
        (edge) => edge.from === node && edge.on === "success" && !edge.conditioned,
      );
      if (isConditional) for (const edge of defaults.slice(1)) edge.conditioned = true;
    }
    return {
      rules: rules.map((rule, node) => {
        if (fanIn(node) === 0) return "none_failed_min_one_success";
        return typeof rule === "number" ? Math.min(rule, fanIn(node)) : rule;
      }),
      conditionals,
      edges,
    };
  });

function documentOf({ rules, conditionals, edges }: Game): Record<string, unknown> {
  return {
    name: "x",
    nodes: rules.map((rule, node) => ({
      id: `n${node}`,
      type: conditionals[node] ? "conditional" : "parallel",
      trigger_rule: typeof rule === "number" ? { quorum: rule } : rule,
    })),
    edges: edges.map(({ from, to, on, conditioned }) => ({
      from: `n${from}`,
      to: `n${to}`,
      on,
      ...(conditioned ? { condition: "data.x" } : {}),
    })),
  };
}

/** Plays once. @returns the nodes that ran. */
function play({ rules, conditionals, edges }: Game, chance: () => boolean): Set<number> {
  const arrivals = new Map<Edge, Arrival>();
  const ran = new Set<number>();
  for (const [node, rule] of rules.entries()) {
    const incoming = edges.filter(({ to }) => to === node).map((edge) => arrivals.get(edge) as Arrival);
    const outgoing = edges.filter(({ from }) => from === node);
    if (!fires(rule, incoming)) {
      const upstream = incoming.includes("failed") && rule !== "one_failed" && rule !== "all_failed";
      for (const edge of outgoing)
        arrivals.set(edge, upstream && edge.on !== "failure" ? "failed" : "not_taken");
      continue;
    }
    ran.add(node);
    const succeeded = chance();
    const outcome = succeeded ? "success" : "failure";
    const open = outgoing.filter(({ on }) => on === "always" || on === outcome);
    const taken = new Set(open.filter(({ conditioned }) => !conditioned || chance()));
    if (conditionals[node] && succeeded) {
      const success = open.filter(({ on }) => on === "success");
      const first =
        success.find((edge) => edge.conditioned && taken.has(edge)) ??
        success.find((edge) => !edge.conditioned);
      for (const edge of success) if (edge !== first) taken.delete(edge);
    }
    const isUnhandled = !succeeded && taken.size === 0;
    for (const edge of outgoing)
      arrivals.set(edge, taken.has(edge) ? "taken" : isUnhandled ? "failed" : "not_taken");
  }
  return ran;
}

function fires(rule: string | number, arrivals: readonly Arrival[]): boolean {
  const count = (kind: Arrival) => arrivals.filter((arrival) => arrival === kind).length;
  if (arrivals.length === 0 || rule === "all_done") return true;
  if (typeof rule === "number") return count("taken") >= rule;
  if (rule === "one_success") return count("taken") >= 1;
  if (rule === "one_failed") return count("failed") >= 1;
  if (rule === "all_failed") return count("failed") === arrivals.length;
  if (rule === "all_success") return count("taken") === arrivals.length;
  return count("failed") === 0 && (rule === "none_failed" || count("taken") >= 1);
}

it("a join that is never met is never met, and what runs compiles", () => {
  let found = 0;
  fc.assert(
    fc.property(game, fc.infiniteStream(fc.boolean()), (drawn, chances) => {
      const document = documentOf(drawn);
      const faults = faultsOf(document);
      expect(faults.filter(({ code }) => code !== "JOIN_NEVER_MET")).toEqual([]);
      const never = faults.map(({ path }) => Number(/\d+/.exec(path)?.[0]));
      found += never.length;
      if (never.length === 0) expect(() => compile(document)).not.toThrow();
      for (let round = 0; round < 60; round++) {
        const ran = play(drawn, () => chances.next().value as boolean);
        for (const node of never) expect(ran.has(node), `n${node} ran`).toBe(false);
      }
    }),
    { numRuns: 300 },
  );
  expect(found).toBeGreaterThan(20);
});
