/** What the reference says of bodies: loops and maps, nested in each other. */
import { describe, expect, it } from "vitest";
import {
  echo,
  fail,
  field,
  joined,
  link,
  literal,
  missing,
  output,
  run,
  statuses,
  workflow,
} from "./cases.ts";
import type { Expression, Json } from "./expression.ts";
import type { Loop, SimulatedMap, SimulatedNode } from "./model.ts";
import { createGame, type GameResult } from "./reference.ts";

const loop = (id: string, back: string, more: Partial<Loop> & Partial<SimulatedNode> = {}): SimulatedNode =>
  ({ id, type: "loop", loop_back_to: back, ...more }) as SimulatedNode;
const upTo = (last: number): Expression => ({
  kind: "compare",
  operator: "<",
  left: field("loop", "iteration"),
  right: literal(last),
});
const node = (id: string): Expression => ({ kind: "node", id, path: [] });
const transform = (id: string, expression: Expression): SimulatedNode => ({
  id,
  type: "transform",
  expression,
});
const list = (...items: Expression[]): Expression => ({ kind: "list", items });
const constants = (...values: (number | string | boolean)[]): Expression => list(...values.map(literal));
const map = (
  id: string,
  items: Expression,
  body: SimulatedMap["body"],
  more: Partial<SimulatedMap> & Partial<SimulatedNode> = {},
): SimulatedNode => ({ id, type: "map", items, body, ...more }) as SimulatedNode;
const graph = (nodes: (string | SimulatedNode)[], edges: string[] = []) => {
  const { name: _name, ...rest } = workflow(nodes, edges);
  return rest;
};
const order = ({ nodes }: GameResult): string =>
  Object.entries(nodes)
    .filter(([, { status }]) => status !== "SKIPPED")
    .toSorted(([, a], [, b]) => a.move - b.move)
    .map(([key]) => key)
    .join(" ");

describe("a loop", () => {
  const simple = (more: Partial<Loop> = {}) =>
    workflow(["A", "B", loop("L", "B", more), "C", "D"], ["A>B", "B>L", "L>C", "L>D"]);

  it("executes its body once for each iteration, the loop node included", () => {
    expect(order(run(simple({ condition: upTo(3) })))).toBe("A B@L:1 L@L:1 B@L:2 L@L:2 B@L:3 L@L:3 C D");
  });

  it("gives the next iteration's entry the loop node's output, from the loop node", () => {
    const result = run(simple({ condition: upTo(2) }), { L: echo });
    expect(result.nodes["B@L:1"]).toMatchObject({ data: "A", from_nodes: ["A"] });
    expect(result.nodes["B@L:2"]).toMatchObject({ data: "B", from_nodes: ["L"] });
  });

  it("may call its own handler, whose output counts for the condition", () => {
    const again: Expression = {
      kind: "compare",
      operator: "==",
      left: field("output"),
      right: literal("on"),
    };
    const of = simple({ calls: true, condition: again, max_iterations: 3, timeout_path: "D" });
    const result = run(of, { L: output("on") });
    expect(order(result)).toBe("A B@L:1 L@L:1 B@L:2 L@L:2 B@L:3 L@L:3 D");
    expect(order(run(of, { L: output("off") }))).toBe("A B@L:1 L@L:1 C");
  });

  it("breaks by break_path, whose edge is taken and no other success edge", () => {
    const result = run(simple({ condition: literal(false), break_path: "D" }));
    expect(statuses(result)).toBe(
      "A:COMPLETED B@L:1:COMPLETED C:SKIPPED(not_taken) D:COMPLETED L@L:1:COMPLETED",
    );
  });

  it("without break_path leaves by the ordinary edges, never by that to timeout_path", () => {
    const result = run(simple({ condition: literal(false), timeout_path: "D" }));
    expect(order(result)).toBe("A B@L:1 L@L:1 C");
  });

  it("times out at max_iterations by timeout_path; an absent condition is true", () => {
    expect(order(run(simple({ max_iterations: 2, timeout_path: "C", break_path: "D" })))).toBe(
      "A B@L:1 L@L:1 B@L:2 L@L:2 C",
    );
  });

  it("takes all edges of a list of paths, and those that both ways share; an empty list is none", () => {
    const of = (more: Partial<Loop>) =>
      workflow(["A", "B", loop("L", "B", more), "C", "D", "E"], ["A>B", "B>L", "L>C"]);
    const both = { break_path: ["C", "D"], timeout_path: ["D", "E"] };
    expect(order(run(of({ ...both, condition: literal(false) })))).toBe("A B@L:1 L@L:1 C D");
    expect(order(run(of({ ...both, max_iterations: 1 })))).toBe("A B@L:1 L@L:1 D E");
    const late = { break_path: [], timeout_path: ["D", "E"], condition: literal(false) };
    expect(order(run(of(late)))).toBe("A B@L:1 L@L:1 C");
    const of2 = run(simple({ timeout_path: [], max_iterations: 1 }));
    expect(of2.error).toMatchObject({ code: "LOOP_EXHAUSTED" });
  });

  it("fails with LOOP_EXHAUSTED without timeout_path, routed as any failure", () => {
    const result = run(simple({ max_iterations: 1 }));
    expect(statuses(result)).toBe(
      "A:COMPLETED B@L:1:COMPLETED C:SKIPPED(upstream_failed L) D:SKIPPED(upstream_failed L) L@L:1:FAILED",
    );
    expect(result.error).toMatchObject({ code: "LOOP_EXHAUSTED", node_id: "L" });
    const handled = workflow(
      ["A", loop("L", "A", { max_iterations: 1 }), "H"],
      ["A>L", link("L>H", { on: "failure" })],
    );
    expect(run(handled)).toMatchObject({ status: "COMPLETED" });
  });

  it("fails with CONDITION_FAILED when its condition has no value", () => {
    expect(run(simple({ condition: missing })).error).toMatchObject({ code: "CONDITION_FAILED" });
  });

  it("lets its always edges decide for themselves, whichever path is taken; not before the last iteration", () => {
    const of = workflow(
      ["A", loop("L", "A", { condition: upTo(2), break_path: "C" }), "C", "D"],
      ["A>L", "L>C", link("L>D", { on: "always" })],
    );
    expect(order(run(of))).toBe("A@L:1 L@L:1 A@L:2 L@L:2 C D");
  });

  it("adds an edge to its path that the file lacks, and drops the edge back", () => {
    const of = workflow(["A", loop("L", "A", { condition: upTo(2), break_path: "C" }), "C"], ["A>L", "L>A"]);
    const result = run(of, { C: echo });
    expect(order(result)).toBe("A@L:1 L@L:1 A@L:2 L@L:2 C");
    expect(result.nodes.C).toMatchObject({ output: "A", from_nodes: ["L"] });
  });

  it("may be its own entry", () => {
    const of = workflow(["A", loop("L", "L", { condition: upTo(3) }), "B"], ["A>L", "L>L", "L>B"]);
    expect(order(run(of))).toBe("A L@L:1 L@L:2 L@L:3 B");
  });

  it("decides a join at its entry once, at iteration 1", () => {
    const of = workflow(
      ["A", "B", joined("J", "one_success"), loop("L", "J", { condition: upTo(2) })],
      ["A>J", "B>J", "J>L"],
    );
    const result = run(of, { J: echo }, ["A", "J@L:1", "L@L:1", "J@L:2", "L@L:2", "B"]);
    expect(order(result)).toBe("A J@L:1 L@L:1 J@L:2 L@L:2 B");
    expect(result.nodes["J@L:1"]!.output).toEqual({ A: "A" });
  });

  it("enters several nested loops at one entry, the inner ones anew in each iteration of the outer", () => {
    const of = workflow(
      ["A", loop("I", "A", { condition: upTo(2) }), loop("O", "A", { condition: upTo(2) }), "B"],
      ["A>I", "I>O", "O>B"],
    );
    const result = run(of);
    expect(order(result)).toBe(
      "A@O:1/I:1 I@O:1/I:1 A@O:1/I:2 I@O:1/I:2 O@O:1 A@O:2/I:1 I@O:2/I:1 A@O:2/I:2 I@O:2/I:2 O@O:2 B",
    );
    expect(result.nodes["A@O:2/I:1"]!.from_nodes).toEqual(["O"]);
  });

  it("is recorded SKIPPED at iteration 1 when it is skipped from outside, and passes on why", () => {
    const of = workflow(
      ["A", "B", loop("L", "B", { break_path: "C", timeout_path: "D" }), "C", "D", "E"],
      ["A>B", "B>L", link("L>E", { on: "failure" })],
    );
    expect(statuses(run(of, { A: fail }))).toBe(
      "A:FAILED B@L:1:SKIPPED(upstream_failed A) C:SKIPPED(upstream_failed A) D:SKIPPED(upstream_failed A) E:SKIPPED(not_taken) L@L:1:SKIPPED(upstream_failed A)",
    );
  });

  it("passes a failure inside on through its skipped loop node, in the iteration in which it happens", () => {
    const odd: Expression = {
      kind: "compare",
      operator: "==",
      left: field("loop", "iteration"),
      right: literal(2),
    };
    const of = workflow(
      [
        "A",
        transform("B", { kind: "list", items: [{ kind: "size", of: field("data") as never }] }),
        "X",
        loop("L", "A", { condition: literal(true), max_iterations: 5 }),
        "C",
      ],
      ["A>B", link("A>X", { condition: odd }), "B>L", "X>L", "L>C"],
    );
    const result = run(of, { A: output("a"), X: fail });
    expect(result.nodes["L@L:1"]).toMatchObject({ status: "COMPLETED" });
    expect(result.nodes["L@L:2"]).toMatchObject({ reason: { kind: "upstream_failed", node: "X" } });
    expect(result.nodes.C).toMatchObject({ reason: { kind: "upstream_failed", node: "X" } });
    expect(result.error).toMatchObject({ node_id: "X", code: "BOOM" });
  });

  it("begins the next iteration when nothing of this one is outstanding: behind an early join it waits", () => {
    const of = workflow(
      ["A", "X", "Y", { ...loop("L", "A", { condition: upTo(2) }), trigger_rule: "one_success" }, "B"],
      ["A>X", "A>Y", "X>L", "Y>L", "L>B"],
    );
    const game = createGame(of, {});
    for (const key of ["A@L:1", "X@L:1", "L@L:1"]) game.resolve(key, echo);
    expect(game.enabled()).toEqual(["Y@L:1"]);
    game.resolve("Y@L:1", echo);
    expect(game.enabled()).toEqual(["A@L:2"]);
    for (const key of ["A@L:2", "X@L:2", "L@L:2"]) game.resolve(key, echo);
    expect(game.enabled()).toEqual(["Y@L:2", "B"]);
  });

  it("shows bodies the nodes of their own iteration and those around them; outside its last iteration's output is seen", () => {
    const of = workflow(
      [
        "A",
        transform("B", field("loop")),
        transform("C", list(node("A"), node("B"))),
        loop("L", "B", { condition: upTo(2) }),
        transform("D", node("L")),
      ],
      ["A>B", "B>C", "C>L", "L>D"],
    );
    const result = run(of);
    expect(result.nodes["C@L:2"]!.output).toEqual(["A", { iteration: 2 }]);
    expect(result.output).toEqual(["A", { iteration: 2 }]);
  });

  it("that is a terminal gives its last iteration's output", () => {
    const of = workflow([transform("A", field("loop")), loop("L", "A", { condition: upTo(3) })], ["A>L"]);
    expect(run(of).output).toEqual({ iteration: 3 });
  });

  it("begins no iteration in a halted run, and has no execution of what was never activated", () => {
    const of = workflow(["A", "B", loop("L", "A"), "C"], ["A>B", "B>L", "L>C"]);
    const game = createGame(of, {});
    game.resolve("A@L:1", echo);
    game.cancel();
    game.resolve("B@L:1", echo);
    expect(statuses(game.result())).toBe("A@L:1:COMPLETED B@L:1:COMPLETED C:CANCELLED");
    expect(game.result().status).toBe("CANCELLED");
  });
});

describe("a map", () => {
  const body = graph(["B", transform("C", list(field("data"), field("item"), field("index")))], ["B>C"]);
  const over = (items: Expression, more: Partial<SimulatedMap> = {}) =>
    workflow([map("M", items, body, more), "Z"], ["M>Z"]);

  it("works on each item in a scope of its own and gives the results in order", () => {
    const result = run(over(constants(7, 8)), {}, ["B@M:1", "C@M:1"]);
    expect(order(result)).toBe("B@M:1 C@M:1 B@M:0 C@M:0 M Z");
    expect(result.nodes.M!.output).toEqual([
      ["B", 7, 0],
      ["B", 8, 1],
    ]);
    expect(result.nodes["B@M:0"]).toMatchObject({ data: 7, from_nodes: [] });
  });

  it("gives [] for no items at once", () => {
    const result = run(over(list()));
    expect(order(result)).toBe("M Z");
    expect(result.nodes.M!.output).toEqual([]);
  });

  it("fails when items is no list, or has no value", () => {
    expect(run(over(literal(3))).error).toMatchObject({ code: "MAP_NOT_A_LIST" });
    expect(run(over(missing)).error).toMatchObject({ code: "NOT_FIXED", node_id: "M" });
  });

  it("has no more items open than it may, in their order", () => {
    const game = createGame(over(constants(1, 2, 3), { max_concurrency: 2 }), {});
    expect(game.enabled()).toEqual(["B@M:0", "B@M:1"]);
    for (const key of ["B@M:1", "C@M:1"]) game.resolve(key, echo);
    expect(game.enabled()).toEqual(["B@M:0", "B@M:2"]);
    expect(game.outstanding()).toEqual(["M", "B@M:0", "B@M:2"]);
  });

  const onEven = graph(["B", transform("F", missing), "G"], [] as string[]);
  const failing = (more: Partial<SimulatedMap> = {}) => {
    const isEven: Expression = { kind: "compare", operator: "==", left: field("item"), right: literal(2) };
    const edges = [
      link("B>F", { condition: isEven }),
      link("B>G", { condition: { kind: "not", of: isEven } }),
    ];
    return workflow([map("M", constants(1, 2, 3), { ...onEven, edges }, more), "Z"], ["M>Z"]);
  };

  it("works on all items, whatever fails, and fails with MAP_FAILED; its items' failures are not the run's", () => {
    const result = run({ ...failing(), fail_fast: true });
    expect(result.nodes["G@M:2"]!.status).toBe("COMPLETED");
    expect(result.error).toMatchObject({ code: "MAP_FAILED", node_id: "M" });
  });

  it("tolerates failures: null stands for such an item", () => {
    const result = run(failing({ tolerated_failures: 1 }));
    expect(result).toMatchObject({ status: "COMPLETED", error: null });
    expect(result.nodes.M!.output).toEqual([{ G: "G" }, null, { G: "G" }]);
  });

  it("does not count a failure that was handled inside the item", () => {
    const handled = graph([transform("B", missing), "H"]);
    const edges = [link("B>H", { on: "failure" })];
    const result = run(workflow([map("M", constants(1), { ...handled, edges })], []));
    expect(result).toMatchObject({ status: "COMPLETED", output: ["H"] });
  });

  it("runs a workflow for each item, whose input it is", () => {
    const child = { ...workflow([transform("T", field("input"))], []), name: "child" };
    const result = run(workflow([map("M", constants(1, 2), child)], []));
    expect(order(result)).toBe("M.item@M:0 M.item@M:1 M");
    expect(result.output).toEqual([1, 2]);
  });

  const count = (of: "completed" | "failed" | "total", least: number): Expression => ({
    kind: "compare",
    operator: ">=",
    left: field(of),
    right: literal(least),
  });

  describe("that may complete early", () => {
    const early = (complete_when: Expression, more: object = {}) =>
      createGame(over(constants(1, 2, 3, 4), { complete_when, ...more }), {});
    const item = (game: ReturnType<typeof createGame>, index: number, behaviour = echo) => {
      for (const id of ["B", "C"]) game.resolve(`${id}@M:${index}`, behaviour);
    };

    it("withdraws the rest once a look says so, and gives what there is", () => {
      const game = early(count("completed", 1), { max_concurrency: 2 });
      expect(game.look("M")).toBe(null);
      item(game, 1);
      expect([game.looks(), game.look("M")]).toEqual([["M"], true]);
      expect(game.result().nodes["B@M:0"]).toMatchObject({
        status: "CANCELLED",
        reason: { kind: "withdrawn", node: "M" },
      });
      expect(game.resolve("M").output).toEqual([null, [2, 2, 1], null, null]);
      expect(game.result().nodes["B@M:3"]).toBeUndefined();
    });

    it("looks at the counts of the moment when the look began; what ends meanwhile is seen by the next one", () => {
      const game = early(count("completed", 2));
      item(game, 0);
      for (const index of [1, 2]) item(game, index);
      expect([game.look("M"), game.look("M"), game.looks()]).toEqual([false, true, []]);
      expect(game.resolve("M").output).toEqual([[1, 1, 0], [2, 2, 1], [3, 3, 2], null]);
    });

    it("does not go on while a look is under way, and begins none once all is over", () => {
      const game = early(count("completed", 4));
      for (const index of [0, 1, 2, 3]) item(game, index);
      expect(game.enabled()).toEqual([]);
      expect(game.look("M")).toBe(false);
      expect([game.looks(), game.enabled()]).toEqual([[], ["M"]]);
    });

    it("fails if more failed than may, and if the condition cannot be evaluated", () => {
      const failing = early(count("failed", 1));
      failing.resolve("B@M:0", fail);
      expect(failing.look("M")).toBe(true);
      expect(failing.resolve("M").error).toMatchObject({ code: "MAP_FAILED" });
      const faulty = early(field("completed"));
      item(faulty, 0);
      expect([faulty.looks(), faulty.look("M"), faulty.enabled().includes("M")]).toEqual([[], null, true]);
      expect(faulty.resolve("M").status).toBe("FAILED");
      expect(faulty.result().nodes["B@M:1"]!.status).toBe("CANCELLED");
    });
  });

  describe("that are open", () => {
    const open = (more: object = {}, ...items: number[]) =>
      createGame(over(constants(...items), { open: { name: "more", signals: [] }, ...more }), {});
    const give = (game: ReturnType<typeof createGame>, payload: Json) => {
      const signal = { name: "more", scope: null, payload, by: null, at: "" };
      return [game.signal(signal), game.wait("M")];
    };
    const item = (game: ReturnType<typeof createGame>, index: number) => {
      for (const id of ["B", "C"]) game.resolve(`${id}@M:${index}`, echo);
    };

    it("go on until a signal closes them, and then end with their last item", () => {
      const game = open({}, 1);
      game.wait("M");
      item(game, 0);
      expect(game.enabled()).toEqual([]);
      expect(give(game, { items: [2] })).toEqual(["taken", true]);
      expect(give(game, { items: [3], close: true })).toEqual(["taken", true]);
      expect(give(game, { items: [4] })[0]).toBe("kept");
      for (const index of [1, 2]) item(game, index);
      expect(game.resolve("M").output).toEqual([
        [1, 1, 0],
        [2, 2, 1],
        [3, 3, 2],
      ]);
    });

    it("take what was given before they waited", () => {
      const game = open();
      expect(game.signal({ name: "more", scope: "", payload: { close: true }, by: null, at: "" })).toBe(
        "kept",
      );
      game.wait("M");
      expect(game.enabled()).toEqual([]);
      game.wait("M");
      expect(game.resolve("M").output).toEqual([]);
    });

    it("are completed by a signal as by complete_when", () => {
      const game = open({}, 1, 2);
      game.wait("M");
      item(game, 1);
      give(game, { items: [3], complete: true });
      expect(game.result().nodes["B@M:0"]!.status).toBe("CANCELLED");
      expect(game.resolve("M").output).toEqual([null, [2, 2, 1], null]);
    });

    it("look again after a signal that came before the look, and take none while one is under way", () => {
      const game = open({ complete_when: count("total", 3) }, 1, 2);
      game.wait("M");
      const early = { name: "more", scope: null, payload: { items: [3] }, by: null, at: "" };
      game.signal(early);
      item(game, 0);
      game.wait("M");
      expect(game.look("M")).toBe(true);
      const other = open({ complete_when: count("total", 3) }, 1, 2);
      other.wait("M");
      item(other, 0);
      expect(other.signal(early)).toBe("kept");
      expect(other.look("M")).toBe(false);
    });
  });

  it("is nested in loops, maps and around loops", () => {
    const inner = graph(
      [
        transform("X", list(field("item"), field("loop", "iteration"))),
        loop("I", "X", { condition: upTo(2) }),
      ],
      ["X>I"],
    );
    const outer = graph([map("N", field("data"), inner)]);
    const of = workflow(
      ["A", map("M", list(field("data"), list()), outer), loop("L", "A", { condition: upTo(1) })],
      ["A>M", "M>L"],
    );
    const result = run(of, { A: output([5]) });
    expect(Object.keys(result.nodes)).toContain("X@L:1/M:0/N:0/I:2");
    expect(result.output).toEqual([[[5, 2]], []]);
  });

  it("that is skipped begins nothing", () => {
    const of = workflow(["A", map("M", constants(1), body)], [link("A>M", { condition: literal(false) })]);
    expect(statuses(run(of))).toBe("A:COMPLETED M:SKIPPED(not_taken)");
  });

  it("forgets items that a halted run never began", () => {
    const game = createGame(over(constants(1, 2)), {});
    game.cancel();
    game.withdraw("B@M:0", echo);
    game.forgetItems((scope) => scope === "M:0");
    expect(game.outstanding()).toEqual(["M"]);
    game.withdraw("M");
    expect(statuses(game.result())).toBe("B@M:0:CANCELLED M:CANCELLED Z:CANCELLED");
  });
});
