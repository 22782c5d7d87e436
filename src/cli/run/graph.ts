/** A workflow's graph with what is known of its nodes, as text for a terminal and as Mermaid. */

import type { NodeExecutionRow } from "../../postgres/runs.ts";
import type { NodeStatus, RunStatus } from "../../token/lifecycle.ts";
import type { EdgeOn, IR, IRBody, TriggerRule } from "../../workflow/ir/ir.ts";
import { coloured, counts, duration, icon } from "../shell/format.ts";
import type { Colors } from "../shell/terminal.ts";
import { groupScopes, type KnownCounts } from "./scopes.ts";

export interface GraphNode {
  id: string;
  type: string;
  level: number;
  trigger_rule: TriggerRule;
  /** The loop or map node in whose body it stands; null: none. A loop node stands in its own. */
  body: string | null;
  /** Null: the graph is a file's, nothing ran. Of several executions what is under way, else what went wrong. */
  status: NodeStatus | null;
  /** How many executions there are in each status. */
  executions: Partial<Record<NodeStatus, number>>;
  reason: string | null;
  duration_ms: number | null;
}

export interface GraphEdge {
  from: string;
  to: string;
  on: EdgeOn;
  condition: string | null;
  /** Besides what the file's edges say: ways out of a loop and back, into the body of a map, to what undoes a node. */
  kind: "flow" | "break" | "timeout" | "back" | "item" | "compensation";
}

/** What a loop repeats, or a map runs for each item. */
export interface GraphBody {
  kind: IRBody["kind"];
  /** The loop or map node. */
  node: string;
  /** The loop or map around it. */
  parent: string | null;
}

export interface Graph {
  name: string;
  version: number | null;
  run_id: string | null;
  status: RunStatus | null;
  nodes: GraphNode[];
  edges: GraphEdge[];
  /** Outer ones first. */
  bodies: GraphBody[];
}

/** The graph of a run, or (without `run`) of a workflow alone. */
export function graphOf(
  ir: IR,
  version: number | null,
  run?: { run_id: string; status: RunStatus; nodes: readonly NodeExecutionRow[]; counts?: KnownCounts },
): Graph {
  const idOf = (index: number) => ir.nodes[index]?.id as string;
  const bodyOf = (index: number) => (index === -1 ? null : idOf(ir.bodies[index]?.node as number));
  const states = new Map<string, NodeState>();
  for (const { nodeId, status, rows, byStatus, total, text } of groupScopes(
    run?.nodes ?? [],
    1,
    run?.counts,
  )) {
    const duration_ms = total === 1 ? (rows[0]?.duration_ms ?? null) : null;
    const executions = Object.fromEntries(Object.entries(byStatus).filter(([, count]) => count > 0));
    states.set(nodeId, { status, executions, reason: text === "" ? null : text, duration_ms });
  }
  const pending: NodeState = {
    status: run ? "PENDING" : null,
    executions: {},
    reason: null,
    duration_ms: null,
  };
  // What undoes a node is of interest once it ran, or when the graph is that of a file.
  const shown = ir.nodes.filter(({ id, compensates }) => !run || compensates === undefined || states.has(id));
  const isShown = new Set(shown.map(({ id }) => id));
  return {
    name: ir.name,
    version,
    run_id: run?.run_id ?? null,
    status: run?.status ?? null,
    nodes: shown.map(({ id, type, level, trigger_rule, body }) => ({
      ...{ id, type, level, trigger_rule, body: bodyOf(body) },
      ...(states.get(id) ?? pending),
    })),
    edges: edgesOf(ir).filter(({ from, to }) => isShown.has(from) && isShown.has(to)),
    bodies: ir.bodies.map(({ kind, node, parent }) => ({
      kind,
      node: idOf(node),
      parent: bodyOf(parent),
    })),
  };
}

type NodeState = Pick<GraphNode, "status" | "executions" | "reason" | "duration_ms">;

/** In the order in which each node tries its edges; what is no edge of the file comes before them. */
function edgesOf(ir: IR): GraphEdge[] {
  const idOf = (index: number) => ir.nodes[index]?.id as string;
  const extra = (from: string, to: number | undefined, kind: GraphEdge["kind"]): GraphEdge[] =>
    to === undefined ? [] : [{ from, to: idOf(to), on: "success", condition: null, kind }];
  return ir.nodes.flatMap(({ id, out, loop, map_body, compensation, config }) => {
    const back = extra(id, loop?.entry, "back").map((edge) => ({
      ...edge,
      condition: (config.condition as string | undefined) ?? null,
    }));
    const entries = map_body === undefined ? [] : (ir.bodies[map_body]?.entries ?? []);
    return [
      ...back,
      ...entries.flatMap((entry) => extra(id, entry, "item")),
      ...out.map((index): GraphEdge => {
        const { from, to, on, condition = null } = ir.edges[index] as IR["edges"][number];
        const kind = loop?.break?.includes(index)
          ? "break"
          : loop?.timeout?.includes(index)
            ? "timeout"
            : "flow";
        return { from: idOf(from), to: idOf(to), on, condition, kind };
      }),
      ...extra(id, compensation, "compensation"),
    ];
  });
}

/** Level by level: each node with the edges that leave it, bodies as indented blocks. */
export function graphText(graph: Graph, colors: Colors, width: number): string {
  const title = graph.version === null ? graph.name : `${graph.name} version ${graph.version}`;
  const run = graph.run_id === null ? "" : `  run ${graph.run_id}`;
  const status = graph.status === null ? "" : `  ${coloured(graph.status, colors)}`;
  const idWidth = Math.min(40, Math.max(...graph.nodes.map(({ id }) => id.length)));
  const bySource = groupBySource(graph.edges);
  const lines = [`${colors.bold(title)}${run}${status}`];
  const draw = (body: string | null, indent: string) => {
    let level = -1;
    for (const part of partsOf(graph, body)) {
      if (body === null && part.level !== level) lines.push(colors.dim(`level ${part.level}`));
      level = part.level;
      if ("body" in part) {
        const edges = bySource.get(part.id) ?? [];
        const own = [
          nodeLine(part, idWidth, colors),
          ...edgeLines(part, edges, colors, width - indent.length),
        ];
        lines.push(...own.map((line) => indent + line));
      } else {
        lines.push(`${indent}  ${colors.dim(bodyTitle(part.block))}`);
        draw(part.block.node, `${indent}  `);
      }
    }
  };
  draw(null, "");
  return lines.join("\n");
}

/** What stands directly in a body (or outside all), by level: nodes, loops in the place of their first node, maps' items behind the map. */
function partsOf(graph: Graph, body: string | null): (GraphNode | { level: number; block: GraphBody })[] {
  const blocks = graph.bodies.filter(({ parent }) => parent === body);
  const loops = blocks
    .filter(({ kind }) => kind === "loop")
    .map((block) => ({ level: firstLevel(graph, block.node), block }));
  const parts = [...loops, ...graph.nodes.filter((node) => node.body === body)];
  // The order of the IR is topological, not by level.
  return parts
    .toSorted((left, right) => left.level - right.level)
    .flatMap((part) => {
      const items = blocks.filter(({ kind, node }) => kind === "map" && "id" in part && node === part.id);
      return [part, ...items.map((block) => ({ level: part.level, block }))];
    });
}

/** Least level of a body's nodes, those of bodies inside it included. */
function firstLevel(graph: Graph, body: string): number {
  const own = graph.nodes.filter((node) => node.body === body).map(({ level }) => level);
  const inner = graph.bodies.filter(({ parent, kind }) => parent === body && kind === "loop");
  return Math.min(...own, ...inner.map(({ node }) => firstLevel(graph, node)));
}

function bodyTitle({ kind, node }: GraphBody): string {
  return kind === "loop" ? `loop ${node}` : `each item of ${node}`;
}

function groupBySource(edges: readonly GraphEdge[]): Map<string, GraphEdge[]> {
  const groups = new Map<string, GraphEdge[]>();
  for (const edge of edges) groups.set(edge.from, [...(groups.get(edge.from) ?? []), edge]);
  return groups;
}

function nodeLine(node: GraphNode, idWidth: number, colors: Colors): string {
  const { id, type, status, trigger_rule, reason, duration_ms } = node;
  const named = typeof trigger_rule === "object" ? `quorum ${trigger_rule.quorum}` : trigger_rule;
  const rule = named === "none_failed_min_one_success" ? "" : ` (${named})`;
  if (status === null) return `  ● ${colors.bold(id.padEnd(idWidth))}  ${colors.dim(type + rule)}`;
  const time = duration_ms === null ? "" : `  ${duration(duration_ms)}`;
  const why = reason === null ? "" : `  ${reason}`;
  const padding = " ".repeat(Math.max(0, idWidth - id.length));
  return `  ${icon(status)}${coloured(status, colors, id)}${padding}  ${colors.dim(`${type}${rule}`)}  ${coloured(status, colors)}${colors.dim(time + why)}`;
}

const EDGE_INDENT = " ".repeat(5);

/** Plain edges share lines; a node with others has one line for each, in the order in which they are tried. */
function edgeLines(node: GraphNode, edges: readonly GraphEdge[], colors: Colors, width: number): string[] {
  const plain = edges.every(
    (edge) => edge.kind === "flow" && edge.on === "success" && edge.condition === null,
  );
  const texts = plain
    ? wrapped(
        edges.map(({ to }) => to),
        width - EDGE_INDENT.length - 3,
      )
    : edges.map((edge) => `${edge.to}  ${colors.dim(marksOf(edge, node))}`.trimEnd());
  return texts.map((text, index) => {
    const last = index === texts.length - 1;
    const sign = plain ? (index === 0 ? "└→ " : "   ") : last ? "└→ " : "├→ ";
    return `${EDGE_INDENT}${colors.dim(sign)}${text}`;
  });
}

/** Words for what is no plain edge. */
const KIND_WORDS: Record<GraphEdge["kind"], string> = {
  flow: "",
  break: "when it ends",
  timeout: "after the last iteration",
  back: "once more",
  item: "for each item",
  compensation: "undoes it",
};

/** When the edge is taken. */
function marksOf({ on, condition, kind }: GraphEdge, { type }: GraphNode): string {
  const isDefault = condition === null && on === "success" && kind === "flow" && type === "conditional";
  return [
    KIND_WORDS[kind],
    ...(isDefault ? ["otherwise"] : []),
    ...(on === "success" ? [] : [`on ${on}`]),
    ...(condition === null ? [] : [`if ${condition}`]),
  ]
    .filter((word) => word !== "")
    .join(" ");
}

/** Names with commas, in lines of at most `width` columns. */
function wrapped(names: readonly string[], width: number): string[] {
  const lines: string[] = [];
  let line = "";
  names.forEach((name, index) => {
    const item = index === names.length - 1 ? name : `${name},`;
    if (line !== "" && line.length + 1 + item.length > width) {
      lines.push(line);
      line = item;
    } else line = line === "" ? item : `${line} ${item}`;
  });
  return line === "" ? lines : [...lines, line];
}

/** Fill and border of each status. */
const MERMAID_COLOURS: Record<NodeStatus, string> = {
  PENDING: "fill:#f3f4f6,stroke:#9ca3af,color:#374151",
  RUNNING: "fill:#dbeafe,stroke:#2563eb,color:#1e3a8a",
  WAITING: "fill:#ede9fe,stroke:#7c3aed,color:#4c1d95",
  RETRYING: "fill:#ffedd5,stroke:#ea580c,color:#7c2d12",
  COMPLETED: "fill:#dcfce7,stroke:#16a34a,color:#14532d",
  FAILED: "fill:#fee2e2,stroke:#dc2626,color:#7f1d1d",
  SKIPPED: "fill:#f9fafb,stroke:#d1d5db,color:#9ca3af,stroke-dasharray:4",
  CANCELLED: "fill:#fef9c3,stroke:#ca8a04,color:#713f12",
};

/** A Mermaid flowchart with bodies as subgraphs; with the run's statuses as classes, if it has any. */
export function graphMermaid(graph: Graph): string {
  const index = new Map(graph.nodes.map(({ id }, position) => [id, position]));
  const lines = ["flowchart TD"];
  const draw = (body: string | null, indent: string) => {
    for (const { id, type, status, executions } of graph.nodes.filter((node) => node.body === body)) {
      const css = status === null ? "" : `:::${status.toLowerCase()}`;
      const several = Object.values(executions).reduce((sum, count) => sum + count, 0) > 1;
      const how = several ? `<br/>${mermaidText(counts(executions))}` : "";
      lines.push(`${indent}n${index.get(id)}["${mermaidText(id)}<br/>${mermaidText(type)}${how}"]${css}`);
    }
    for (const block of graph.bodies.filter(({ parent }) => parent === body)) {
      lines.push(`${indent}subgraph b${index.get(block.node)}["${mermaidText(bodyTitle(block))}"]`);
      draw(block.node, `${indent}  `);
      lines.push(`${indent}end`);
    }
  };
  draw(null, "  ");
  for (const { from, to, on, condition, kind } of graph.edges) {
    const label = [
      KIND_WORDS[kind],
      ...(on === "success" ? [] : [on]),
      ...(condition === null ? [] : [condition]),
    ]
      .filter((word) => word !== "")
      .join(": ");
    const arrow = on === "failure" || kind === "item" || kind === "compensation" ? "-.->" : "-->";
    lines.push(`  n${index.get(from)} ${arrow}${label ? `|"${mermaidText(label)}"|` : ""} n${index.get(to)}`);
  }
  const used = new Set(graph.nodes.flatMap(({ status }) => status ?? []));
  for (const status of used) lines.push(`  classDef ${status.toLowerCase()} ${MERMAID_COLOURS[status]}`);
  return lines.join("\n");
}

/** Text between double quotes of Mermaid: what has a meaning there becomes an entity. */
function mermaidText(text: string): string {
  return text.replaceAll(/[^\p{L}\p{N} .,:;=+*/_()-]/gu, (sign) =>
    /\s/.test(sign) ? " " : `#${sign.codePointAt(0)};`,
  );
}
