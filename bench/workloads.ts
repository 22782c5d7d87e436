/** The workflows that the benchmark runs, and what must be on record afterwards. */

/** Runs of one workflow, as many at once as the engine takes. */
export interface Workload {
  name: string;
  title: string;
  /** Nodes, and thereby steps, of one run. */
  steps: number;
  /** Runs of one sample. */
  runs: number;
  /** The workflow file under another name: each sample has a workflow of its own, so that its rows can be counted. */
  document(name: string): object;
  /** `count` in the output of each run, if its handlers counted. */
  count?: number;
}

interface Link {
  from: string;
  to: string;
}

function functionNode(id: string, functionName: string, more: object = {}): object {
  return { id, type: "function", config: { function_name: functionName }, ...more };
}

/** Nodes `n1` to `n<length>`, one after the other. */
function chain(name: string, length: number, functionName: string, queues: readonly string[]): object {
  const ids = Array.from({ length }, (_, index) => `n${index + 1}`);
  const queueOf = (index: number) => ({ queue: queues[index % queues.length] as string });
  return {
    name,
    nodes: ids.map((id, index) => functionNode(id, functionName, queueOf(index))),
    edges: ids.slice(1).map((to, index): Link => ({ from: ids[index] as string, to })),
  };
}

/** One node, then `width` of them, then one. */
function fan(name: string, width: number): object {
  const middle = Array.from({ length: width }, (_, index) => `m${index + 1}`);
  return {
    name,
    nodes: [
      functionNode("first", "step"),
      ...middle.map((id) => functionNode(id, "step")),
      functionNode("last", "join"),
    ],
    edges: middle.flatMap((id): Link[] => [
      { from: "first", to: id },
      { from: id, to: "last" },
    ]),
  };
}

const CHAIN_LENGTH = 10;
const FAN_WIDTH = 50;
const DEFAULT_QUEUE = ["default"];

export function chains(runs: number, length = CHAIN_LENGTH): Workload {
  return {
    name: "chain",
    title: `chains of ${length.toLocaleString("en")} steps`,
    steps: length,
    runs,
    count: length,
    document: (name) => chain(name, length, "step", DEFAULT_QUEUE),
  };
}

export function fans(runs: number, width = FAN_WIDTH, name = "fan"): Workload {
  return {
    name,
    title: `1 → ${width.toLocaleString("en")} → 1`,
    steps: width + 2,
    runs,
    // Each of the middle adds one to the first's one.
    count: 2 * width,
    document: (workflow) => fan(workflow, width),
  };
}

export function singles(runs: number): Workload {
  return {
    name: "single",
    title: "one-step runs",
    steps: 1,
    runs,
    count: 1,
    document: (name) => chain(name, 1, "step", DEFAULT_QUEUE),
  };
}

/** One node that makes a list, a map over it, one node that adds its results up. */
export function maps(name: string, runs: number, items: number): Workload {
  const body = { nodes: [functionNode("item", "step")] };
  return {
    name,
    title: `1 → map of ${items.toLocaleString("en")} → 1`,
    steps: items + 3,
    runs,
    count: items,
    document: (workflow) => ({
      name: workflow,
      nodes: [
        { id: "first", type: "function", config: { function_name: "range", params: { size: items } } },
        { id: "each", type: "map", config: { items: "data", body } },
        functionNode("last", "total"),
      ],
      edges: [
        { from: "first", to: "each" },
        { from: "each", to: "last" },
      ],
    }),
  };
}

/** The large map, beside a wait that keeps the run open until it is cancelled. */
export function openMap(items: number): Workload {
  const map = maps("limit-items-cancelled", 1, items);
  return {
    ...map,
    document: (workflow) => {
      const document = map.document(workflow) as { nodes: object[] };
      return { ...document, nodes: [...document.nodes, waitNode("open")] };
    },
  };
}

/** Never due while it is measured. */
const WAIT_LONG_MS = 3_600_000;

function waitNode(id: string, ms = WAIT_LONG_MS): object {
  return { id, type: "wait", config: { duration_ms: ms } };
}

/** A loop around a map: each iteration makes a list and maps over it. */
export function iterations(count: number, items: number): Workload {
  const body = { nodes: [functionNode("item", "step")] };
  return {
    name: "limit-iterations",
    title: `${count.toLocaleString("en")} iterations × map of ${items.toLocaleString("en")}`,
    steps: count * (items + 3) + 1,
    runs: 1,
    document: (workflow) => ({
      name: workflow,
      nodes: [
        { id: "list", type: "function", config: { function_name: "range", params: { size: items } } },
        { id: "each", type: "map", config: { items: "data", body } },
        {
          id: "again",
          type: "loop",
          config: { loop_back_to: "list", condition: `loop.iteration < ${count}`, max_iterations: count },
        },
        functionNode("last", "total"),
      ],
      edges: [
        { from: "list", to: "each" },
        { from: "each", to: "again" },
        { from: "again", to: "last" },
      ],
    }),
  };
}

/** Graphs below the node that is skipped: one after the other, all beside each other with a join, layers that are joined with the next. */
export const SHAPES = ["chain", "wide", "mesh"] as const;
const MESH_WIDTH = 9;

/** One node, and some more that are all skipped as its edge is not taken. */
export function skips(shape: (typeof SHAPES)[number], nodes: number): Workload {
  const ids = Array.from({ length: nodes }, (_, index) => `s${index}`);
  const layer = (of: number) => ids.slice(1 + of * MESH_WIDTH, 1 + (of + 1) * MESH_WIDTH);
  const below = {
    chain: () => ids.slice(1).map((to, index): Link => ({ from: ids[index] as string, to })),
    wide: () =>
      ids.slice(1, -1).flatMap((id): Link[] => [
        { from: "s0", to: id },
        { from: id, to: ids.at(-1) as string },
      ]),
    mesh: () =>
      Array.from({ length: Math.ceil((nodes - 1) / MESH_WIDTH) }, (_, at) =>
        (at === 0 ? ["s0"] : layer(at - 1)).flatMap((from) => layer(at).map((to): Link => ({ from, to }))),
      ).flat(),
  }[shape]();
  return {
    name: `limit-skip-${shape}`,
    title: `skip of ${nodes.toLocaleString("en")} nodes, ${shape}`,
    steps: nodes + 1,
    runs: 1,
    document: (workflow) => ({
      name: workflow,
      nodes: ["first", ...ids].map((id) => functionNode(id, "step")),
      edges: [{ from: "first", to: "s0", condition: "output.count < 0" }, ...below],
    }),
  };
}

/** Nodes that wait beside each other. */
export function waits(name: string, width: number, ms?: number): Workload {
  return {
    name,
    title: `${width.toLocaleString("en")} waits at once`,
    steps: width,
    runs: 1,
    document: (workflow) => ({
      name: workflow,
      nodes: Array.from({ length: width }, (_, index) => waitNode(`w${index}`, ms)),
      edges: [],
    }),
  };
}

/** Nodes that all wait for a signal of the same name, and for a time. */
export function signals(width: number): Workload {
  const config = { name: "go", timeout_ms: WAIT_LONG_MS };
  return {
    name: "limit-signals-cancelled",
    title: `${width.toLocaleString("en")} in line for one signal`,
    steps: width,
    runs: 1,
    document: (workflow) => ({
      name: workflow,
      nodes: Array.from({ length: width }, (_, index) => ({ id: `s${index}`, type: "signal", config })),
      edges: [],
    }),
  };
}

/** A chain whose definition is large, and whose nodes read the run's input and return so many bytes. */
export function payloads(
  name: string,
  sizes: { nodes: number; definitionBytes: number; outputBytes: number },
): object {
  const { nodes, definitionBytes, outputBytes } = sizes;
  const ids = Array.from({ length: nodes }, (_, index) => `n${index + 1}`);
  const edges = ids.slice(1).map((to, index): Link => ({ from: ids[index] as string, to }));
  const withNotes = (note: string) => ({
    name,
    nodes: ids.map((id) => ({
      ...{ id, type: "function" },
      config: { function_name: "carry", params: { bytes: outputBytes, note } },
    })),
    edges,
  });
  const bare = JSON.stringify(withNotes("")).length;
  return withNotes("y".repeat(Math.max(0, Math.floor((definitionBytes - bare) / nodes))));
}

/** One node that waits for a signal. */
export function listeners(name: string): object {
  return { name, nodes: [{ id: "listen", type: "signal", config: { name: "go" } }], edges: [] };
}

/** Queues that the nodes of a streamed chain take turns in: a worker for each passes every token through a stream. */
export const TURNS = ["left", "right"] as const;

/** A chain whose nodes note when they were entered. */
export function stampedChain(queues: "handed_over" | "streamed"): Pick<Workload, "document" | "steps"> {
  const names = queues === "streamed" ? TURNS : DEFAULT_QUEUE;
  return { steps: CHAIN_LENGTH, document: (name) => chain(name, CHAIN_LENGTH, "stamp", names) };
}
