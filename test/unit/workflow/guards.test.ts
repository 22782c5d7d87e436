import { describe, expect, it } from "vitest";
import { compile, loadIr } from "../../../src/workflow/compile/compile.ts";
import type { IR } from "../../../src/workflow/ir/ir.ts";
import { type Document, loop, map, step, workflow, workflowWith } from "./documents.ts";

function compiled(document: Document): IR {
  const { ir, digest } = compile(document);
  expect(loadIr(JSON.parse(JSON.stringify(ir))).digest).toBe(digest);
  return ir;
}

/** What a node withdraws: `moment: ids`. */
function withdrawnBy(ir: IR, id: string): string | undefined {
  const node = ir.nodes.find((candidate) => candidate.id === id);
  return node?.cancels && `${node.cancels_at}: ${node.cancels.map((index) => ir.nodes[index]?.id).join(" ")}`;
}

describe("cancels", () => {
  it("is expanded: a loop node to its loop and those inside it, a map node to itself", () => {
    const nodes = [
      step("c", { cancels: ["o", "m", "z"] }),
      loop("i", "a"),
      loop("o", "a"),
      map("m", workflow("x y", "x>y")),
    ];
    const ir = compiled(workflowWith("c z a i b o m q", "a>i i>b b>o", nodes));
    expect(withdrawnBy(ir, "c")).toBe("done: z a i b o m");
  });

  it("takes * for all others of the body", () => {
    const all = workflowWith("c a l m", "a>l", [
      step("c", { cancels: ["*"] }),
      loop("l", "a"),
      map("m", workflowWith("x y z", "", [step("x", { cancels: ["*"] })])),
    ]);
    const ir = compiled(all);
    expect(withdrawnBy(ir, "c")).toBe("done: a l m");
    expect(withdrawnBy(ir, "x")).toBe("done: y z");
    expect(
      withdrawnBy(compiled(workflowWith("c", "", [step("c", { cancels: ["*"] })])), "c"),
    ).toBeUndefined();
  });

  it("of a node that waits for an event happens with the event", () => {
    const wait = { id: "w", type: "wait", config: { duration_ms: 5 }, cancels: ["s"] };
    const signal = { id: "s", type: "signal", config: { name: "n" }, cancels: ["w"] };
    const ir = compiled(workflowWith("w s", "", [wait, signal]));
    expect([withdrawnBy(ir, "w"), withdrawnBy(ir, "s")]).toEqual(["event: s", "event: w"]);
  });

  it("inside a loop may name what is in it, its loop node included", () => {
    const ir = compiled(
      workflowWith("s a b l", "s>a s>b a>l b>l", [step("a", { cancels: ["b", "l"] }), loop("l", "s")]),
    );
    expect(withdrawnBy(ir, "a")).toBe("done: b l");
  });
});

describe("cancel_rest", () => {
  const join = (trigger_rule: unknown = { quorum: 2 }) => step("j", { trigger_rule, cancel_rest: true });

  it("withdraws the ancestors from which every path leads to the join", () => {
    const ir = compiled(workflowWith("s a b c d j o", "s>a s>b s>c b>d a>j d>j c>j s>o", [join()]));
    expect(withdrawnBy(ir, "j")).toBe("fire: a b c d");
    expect(ir.nodes.find(({ id }) => id === "j")).not.toHaveProperty("cancel_rest");
  });

  it("withdraws whole loops, and nothing outside its body", () => {
    const nodes = [join("one_success"), loop("l", "a"), loop("o", "s")];
    const ir = compiled(workflowWith("r s a l b j o", "r>s s>a s>b a>l l>j b>j j>o", nodes));
    expect(withdrawnBy(ir, "j")).toBe("fire: s a l b");
  });
});

describe("compensate_with", () => {
  it("is a hidden node at the end, with the retry policy of the original", () => {
    const pay = step("pay", {
      compensate_with: { function_name: "refund", params: { all: true } },
      retry: {},
      queue: "q",
    });
    const call = {
      id: "call",
      type: "subworkflow",
      config: { workflow: "w" },
      compensate_with: { function_name: "undo" },
    };
    const ir = compiled(
      workflowWith("pay m end", "pay>m m>end", [pay, map("m", { body: { nodes: [call] } })]),
    );
    expect(ir.nodes.map(({ id }) => id)).toEqual([
      "pay",
      "m",
      "call",
      "end",
      "pay.compensate",
      "call.compensate",
    ]);
    expect(ir.nodes[0]?.compensation).toBe(4);
    expect(ir.nodes[4]).toMatchObject({
      type: "function",
      config: { function_name: "refund", params: { all: true } },
      compensates: 0,
      in: [],
      out: [],
      terminal: false,
      queue: "q",
      retry: { max_attempts: 3 },
      body: -1,
    });
    expect(ir.nodes[5]).toMatchObject({ compensates: 2, body: 0, config: { function_name: "undo" } });
    expect(ir).toMatchObject({ entries: [0], terminals: [3], bodies: [{ entries: [2], terminals: [2] }] });
  });
});

describe("holds and unless", () => {
  it("are kept sorted", () => {
    const nodes = [step("a", { holds: ["z", "db", "z"] }), step("b", { unless: ["d", "a"] })];
    const ir = compiled({ ...workflowWith("a b d", "", nodes), semaphores: { z: 1, db: 7 } });
    expect(ir.nodes[0]?.holds).toEqual(["db", "z"]);
    expect(ir.nodes[1]?.unless).toEqual([0, 2]);
    expect(ir.semaphores).toEqual({ z: 1, db: 7 });
  });
});
