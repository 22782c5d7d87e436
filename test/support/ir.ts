/** Small IRs for tests of the scripts, written as edges: `a -> b`, `a -> b on failure`. */
import type { EdgeOn, IR, IRNode, TriggerRule } from "../../src/workflow/ir/ir.ts";

/** An IR of function nodes; `order` names all nodes, in topological order. */
export function irOf(order: string, edges: readonly string[], rules: Record<string, TriggerRule> = {}): IR {
  const ids = order.split(" ");
  const parsed = edges.map((text) => {
    const [, from, to, on] = /^(\S+) -> (\S+)(?: on (\w+))?$/.exec(text) as unknown as [
      string,
      string,
      string,
      EdgeOn?,
    ];
    return { from: ids.indexOf(from), to: ids.indexOf(to), on: on ?? ("success" as const), priority: 0 };
  });
  const indexes = (pick: (edge: (typeof parsed)[number]) => boolean) =>
    parsed.flatMap((edge, index) => (pick(edge) ? [index] : []));
  const nodes = ids.map((id, index): IRNode => {
    const out = indexes((edge) => edge.from === index);
    return {
      id,
      type: "function",
      config: { function_name: "noop" },
      level: 0,
      trigger_rule: rules[id] ?? "none_failed_min_one_success",
      terminal: out.length === 0,
      in: indexes((edge) => edge.to === index),
      out,
      needs: [],
      retry: {
        max_attempts: 1,
        backoff_ms: 1_000,
        backoff_multiplier: 2,
        max_backoff_ms: 60_000,
        jitter: true,
      },
      timeout_ms: 300_000,
      queue: "default",
      priority: 0,
      body: -1,
    };
  });
  return {
    format: 3,
    name: "test",
    nodes,
    edges: parsed,
    entries: nodes.flatMap((node, index) => (node.in.length === 0 ? [index] : [])),
    terminals: nodes.flatMap((node, index) => (node.terminal ? [index] : [])),
    ends: [],
    levels: 1,
    bodies: [],
    semaphores: {},
    vars: {},
    output_needs: [],
    timeout_ms: 0,
    max_parallel_nodes: 0,
    fail_fast: false,
  };
}
