import { Writable } from "node:stream";
import { pino } from "pino";
import { expect, test } from "vitest";
import { LIMITS } from "../../../src/engine/limits.ts";
import { Deadlines } from "../../../src/engine/worker/deadlines.ts";
import { perform, RUN_HALTED, type Surroundings } from "../../../src/engine/worker/execute.ts";
import type { Performed } from "../../../src/engine/worker/finished_step.ts";
import { type Identity, Slot } from "../../../src/engine/worker/slot.ts";
import { TurnEnds } from "../../../src/engine/worker/turn_ends.ts";
import { keepConnections } from "../../../src/handlers/http.ts";
import { handlersOf } from "../../../src/handlers/load.ts";
import type { Handler } from "../../../src/handlers/types.ts";
import type { Losses } from "../../../src/redis/replies.ts";
import { compile } from "../../../src/workflow/compile/compile.ts";
import type { IR } from "../../../src/workflow/ir/ir.ts";
import {
  HOSTILE_DELAYS,
  HOSTILE_RESULTS,
  HOSTILE_THROWS,
  ODD_RESULTS,
} from "../../support/hostile_values.ts";

interface Options {
  retry?: object;
  attempt?: number;
  condition?: string;
  /** Why the worker does not hold it any more. */
  lost?: Error;
  losses?: Losses;
  /** Another execution. */
  other?: { ir: IR; place: Partial<Identity>; item: unknown };
}

/** Performs the node `work` with this handler; @returns what it came to and what the worker's log says. */
async function performed(
  handler: Handler,
  { retry, attempt = 1, condition, lost, losses, other }: Options = {},
) {
  const work = {
    id: "work",
    type: "function",
    config: { function_name: "work" },
    ...(retry ? { retry } : {}),
  };
  const after = { id: "after", type: "parallel" };
  const edge = { from: "work", to: "after", ...(condition ? { condition } : {}) };
  const { ir } = compile({ name: "flow", nodes: [work, after], edges: [edge] });
  const identity = { runId: "run-1", generation: 1, digest: "d", node: 0, scope: "", attempt };
  const slot = new Slot(0, other?.ir ?? ir, { ...identity, delivery: 1, nonce: "n", ...other?.place });
  slot.input = '{"password":"tell nobody"}';
  slot.losses = losses;
  slot.item = other?.item;
  if (lost) slot.lost.abort(lost);
  const lines: Record<string, unknown>[] = [];
  const stream = new Writable({
    write(chunk, _encoding, done) {
      lines.push(JSON.parse(String(chunk)));
      done();
    },
  });
  const deadlines = new Deadlines();
  const around: Surroundings = {
    call: (_slot, work, ...given) => work(...given),
    workerId: "worker-1",
    connections: keepConnections(),
    handlers: handlersOf({ work: handler }),
    now: () => 1_000,
    log: pino({ base: null }, stream),
    mayHandOver: () => ({ next: false, items: false, unoffered: new Set() }),
    deadlines,
    turns: new TurnEnds(),
    limits: LIMITS,
    servicesOf: () => expect.unreachable("a function does not wait for anything"),
  };
  const done = await new Promise<Performed | undefined>((resolve) => {
    perform(slot, around, (_slot, performed) => resolve(performed));
  });
  deadlines.close();
  if (!done) throw new Error("it was left to its lease");
  return { item: done.step, blobs: done.blobs, detail: done.step.detail, lines };
}

test.each([...HOSTILE_THROWS, ...HOSTILE_DELAYS])(
  "$name fails the attempt and is logged in one line",
  async ({ make, code }) => {
    const rejects = await performed(async () => Promise.reject(make()));
    const throws = await performed(() => {
      throw make();
    });
    for (const { item, detail, lines } of [rejects, throws]) {
      expect(item.outcome).toBe("F");
      expect(detail.error?.code).toBe(code);
      expect(lines).toHaveLength(1);
    }
  },
);

test.each(HOSTILE_RESULTS)("$name as a result fails the attempt", async ({ make, code, refused }) => {
  const { item, detail } = await performed(() => make());
  expect(item.outcome).toBe("F");
  expect(detail.error?.code).toBe(code);
  if (refused) expect(detail.error?.message).toMatch(refused);
});

test.each(ODD_RESULTS)("$name as a result is its output", async ({ make, text }) => {
  const { item } = await performed(() => make());
  expect(item).toMatchObject({ outcome: "C", output: `j${text}` });
});

test("a large output is stored under a name of its own each time: what is performed in vain overwrites nothing", async () => {
  let calls = 0;
  const give = () => {
    calls += 1;
    return { calls, text: "x".repeat(LIMITS.inlineBytes) };
  };
  const [one, other] = [await performed(give), await performed(give)];
  expect(one.blobs).toHaveLength(1);
  expect(one.item.output).toBe(`b${one.blobs[0]?.name}`);
  expect(one.item.blob).toBe(one.blobs[0]?.name);
  expect(other.blobs[0]?.name).not.toBe(one.blobs[0]?.name);
});

test("a failed attempt is one WARN line with its place and what went wrong; the handler's own lines have the place too", async () => {
  const { item, lines } = await performed(
    ({ log }) => {
      log.info("about to fail");
      throw Object.assign(new Error("no quota", { cause: new Error("try tomorrow") }), { code: "NO_QUOTA" });
    },
    { retry: { max_attempts: 3 }, attempt: 2 },
  );
  const place = { run_id: "run-1", workflow: "flow", node: "work", scope: "", attempt: 2 };
  expect(item.outcome).toBe("R");
  expect(lines).toMatchObject([
    { level: 30, ...place, msg: "about to fail" },
    {
      level: 40,
      ...place,
      max_attempts: 3,
      code: "NO_QUOTA",
      message: "no quota",
      causes: [{ depth: 1, message: "try tomorrow" }],
      stack: expect.stringContaining("execute.test.ts"),
    },
  ]);
  expect(JSON.stringify(lines)).not.toContain("tell nobody");
});

test("a handler that changes what it was given changes nothing for conditions and for other executions", async () => {
  const change = ({ data, input, item }: Parameters<Handler>[0]) => {
    for (const value of [data, input, item])
      if (value) Object.assign(value, { password: "changed", self: value });
    return {};
  };
  const condition = 'data.password == "tell nobody" && input.password == "tell nobody"';
  expect((await performed(change, { condition })).item).toMatchObject({ outcome: "C", arrivals: "=t" });

  const body = { nodes: [{ id: "work", type: "function", config: { function_name: "work" } }], edges: [] };
  const each = { id: "each", type: "map", config: { items: "input", body } };
  const { ir } = compile({ name: "flow", nodes: [each], edges: [] });
  const item = { password: "mine" };
  const nodeIndex = ir.nodes.findIndex(({ id }) => id === "work");
  const seen: unknown[] = [];
  const note: Handler = (context) => seen.push(context.item, context.data) && change(context);
  const other = { ir, place: { node: nodeIndex, scope: "each:0" }, item };
  expect((await performed(note, { other })).item.outcome).toBe("C");
  expect(seen).toMatchObject([{ password: "changed" }, { password: "changed" }]);
  expect(item).toEqual({ password: "mine" });
});

test("a condition that cannot be evaluated is logged as a failed attempt; a success and a withdrawn execution are not", async () => {
  const failed = await performed(() => ({ n: 1 }), { condition: "output.missing > 1" });
  expect(failed.item.outcome).toBe("F");
  expect(failed.lines).toMatchObject([{ level: 40, node: "work", code: "CONDITION_FAILED" }]);
  expect((await performed(() => 1)).lines).toEqual([]);
  const lost = Object.assign(new Error("the run was halted"), { code: RUN_HALTED });
  const withdrawn = await performed(({ signal }) => Promise.reject(signal.reason ?? new Error("stopped")), {
    lost,
  });
  expect(withdrawn).toMatchObject({ item: { outcome: "X" }, lines: [] });
});

test.each([
  [{ alone: 2, unexplained: 0 }, false],
  [{ alone: 3, unexplained: 0 }, true],
  [{ alone: 3, unexplained: 1 }, false],
  [{ alone: 5, unexplained: 5 }, false],
  [{ alone: 6, unexplained: 6 }, true],
])("after workers were lost with %j it is a dead letter: %s", async (counts, isDead) => {
  const calls: number[] = [];
  const losses = { lost: 7, words: "exit code 3", ...counts };
  const { item } = await performed(() => calls.push(1), { losses });
  expect(calls).toHaveLength(isDead ? 0 : 1);
  const { error, losses: recorded } = item.detail;
  if (!isDead) return expect([error, recorded]).toEqual([undefined, undefined]);
  expect(error).toMatchObject({
    code: "DEAD_LETTER",
    message: `${counts.alone} workers died that performed it and nothing else; the last: exit code 3`,
  });
  expect(recorded).toMatchObject({ alone: counts.alone, words: "exit code 3" });
});
