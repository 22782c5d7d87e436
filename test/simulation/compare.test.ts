import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { compareRecord, type RecordedNode, type RunRecord, reasonText } from "./compare.ts";
import { type SimulatedCase, simulatedCase } from "./generator.ts";
import type { SimulatedWorkflow } from "./model.ts";
import { createGame, type GameResult, play } from "./reference.ts";

const picks = fc.array(fc.nat(99), { minLength: 1, maxLength: 14 });

/** What an engine would record of a run played in this order. */
function recordOf({ workflow, input, behaviours }: SimulatedCase, order: readonly number[]): RunRecord {
  let turn = 0;
  const result = play(
    workflow,
    input,
    behaviours,
    (enabled) => enabled[order[turn++ % order.length]! % enabled.length]!,
  );
  return recorded(result);
}

function recorded(result: GameResult): RunRecord {
  const nodes = Object.entries(result.nodes).map(
    ([node_id, node]): RecordedNode => ({
      node_id,
      status: node.status,
      reason: node.reason === null ? null : reasonText(node.reason),
      output: node.output,
      error: node.error,
      from_nodes: node.from_nodes,
      resolved_order: node.move,
    }),
  );
  return structuredClone({ status: result.status, error: result.error, output: result.output, nodes });
}

const disagreements = (of: SimulatedCase, record: RunRecord): string[] =>
  compareRecord(of.workflow, of.input, of.behaviours, record);

describe("compareRecord over random runs", () => {
  it("agrees with a correct record, in any order, with or without places for skips", () => {
    fc.assert(
      fc.property(simulatedCase(), picks, fc.boolean(), (sample, order, placed) => {
        const record = recordOf(sample, order);
        if (!placed)
          for (const node of record.nodes) if (node.status === "SKIPPED") node.resolved_order = null;
        expect(disagreements(sample, record)).toEqual([]);
      }),
      { numRuns: 500 },
    );
  });

  it("takes the engine's own wording of what the semantics leave open", () => {
    fc.assert(
      fc.property(simulatedCase(), (sample) => {
        const wording = { code: "ENGINE_CODE", message: "in the engine's words" };
        const game = createGame(sample.workflow, sample.input);
        for (let [id] = game.enabled(); id !== undefined; [id] = game.enabled())
          game.resolve(id, sample.behaviours[id], wording);
        expect(disagreements(sample, recorded(game.result()))).toEqual([]);
      }),
      { numRuns: 500 },
    );
  });

  const spoil: Record<string, (node: RecordedNode, record: RunRecord) => void> = {
    "another status": (node) => {
      node.status = node.status === "COMPLETED" ? "FAILED" : "COMPLETED";
      node.resolved_order ??= 1;
    },
    "another output": (node) => {
      node.output = { spoiled: true };
    },
    "another reason": (node) => {
      if (node.status === "SKIPPED")
        node.reason = node.reason === "not_taken" ? "upstream_failed: n0" : "not_taken";
      else node.output = "spoiled";
    },
    "a node missing": (node, record) => {
      record.nodes.splice(record.nodes.indexOf(node), 1);
    },
    "a node twice": (node, record) => {
      record.nodes.push({ ...node });
    },
    "an arrival more": (node) => {
      if (node.status === "SKIPPED") node.status = "CANCELLED";
      else node.from_nodes = [...node.from_nodes, "n99"];
    },
    "another run status": (_node, record) => {
      record.status = record.status === "COMPLETED" ? "FAILED" : "COMPLETED";
    },
    "another run output": (_node, record) => {
      record.output = { spoiled: true };
    },
  };

  it.each(Object.keys(spoil))("disagrees with %s", (what) => {
    fc.assert(
      fc.property(simulatedCase(), picks, fc.nat(13), (sample, order, pick) => {
        const record = recordOf(sample, order);
        spoil[what]!(record.nodes[pick % record.nodes.length]!, record);
        expect(disagreements(sample, record)).not.toEqual([]);
      }),
      { numRuns: 300 },
    );
  });
});

describe("compareRecord in words", () => {
  const race: SimulatedWorkflow = {
    name: "race",
    nodes: [
      { id: "A", type: "function" },
      { id: "B", type: "function" },
      { id: "J", type: "function", trigger_rule: "one_success" },
    ],
    edges: [
      { from: "A", to: "J" },
      { from: "B", to: "J" },
    ],
  };
  const behaviours = {
    A: { kind: "output", value: 1 },
    B: { kind: "output", value: 2 },
    J: { kind: "echo" },
  } as const;
  const firedOnB = (): RunRecord => {
    const record = recorded(play(race, {}, behaviours));
    const last = record.nodes.find((node) => node.node_id === "J")!;
    Object.assign(last, { output: { B: 2 }, from_nodes: ["B"] });
    record.output = { B: 2 };
    return record;
  };

  it("says what is recorded and what was expected", () => {
    expect(compareRecord(race, {}, behaviours, firedOnB())).toContain(
      'output of J is {"B":2}, expected {"A":1}',
    );
  });

  it("lets one_success fire on a later arrival only where arrivals may lag", () => {
    expect(compareRecord(race, {}, behaviours, firedOnB(), { arrivalsMayLag: true })).toEqual([]);
  });

  it("notices a node that ran before its arrivals", () => {
    const record = recorded(play(race, {}, behaviours));
    record.nodes.find((node) => node.node_id === "J")!.resolved_order = 0;
    expect(compareRecord(race, {}, behaviours, record)).toEqual([
      "J is recorded as COMPLETED when it was not ready to run: its arrivals were not in",
    ]);
  });

  it("notices a skip before its cause", () => {
    const chain: SimulatedWorkflow = {
      name: "chain",
      nodes: [
        { id: "A", type: "function" },
        { id: "B", type: "function" },
      ],
      edges: [{ from: "A", to: "B" }],
    };
    const failing = { A: { kind: "fail", code: "BOOM", message: "as told" }, B: { kind: "echo" } } as const;
    const record = recorded(play(chain, {}, failing));
    expect(compareRecord(chain, {}, failing, record)).toEqual([]);
    record.nodes.find((node) => node.node_id === "B")!.resolved_order = 0;
    expect(compareRecord(chain, {}, failing, record)).toEqual([
      "B is recorded as SKIPPED at 0, when it was not: its arrivals were not in",
    ]);
  });

  it.each(["upstream_failed: n3", "upstream_failed (n3)", "upstream_failed:n3", "upstream_failed n3"])(
    "reads the reason %s",
    (reason) => {
      const workflow: SimulatedWorkflow = {
        name: "reasons",
        nodes: [
          { id: "n3", type: "function" },
          { id: "n4", type: "function" },
        ],
        edges: [{ from: "n3", to: "n4" }],
      };
      const failing = {
        n3: { kind: "fail", code: "BOOM", message: "as told" },
        n4: { kind: "echo" },
      } as const;
      const record = recorded(play(workflow, {}, failing));
      record.nodes.find((node) => node.node_id === "n4")!.reason = reason;
      expect(compareRecord(workflow, {}, failing, record)).toEqual([]);
    },
  );
});
