/** A workflow's graph with what is known of its nodes, as text for a terminal and as Mermaid. */
import type { NodeStatus, RunStatus } from "../token/lifecycle.ts";
import type { EdgeOn, IR, TriggerRule } from "../workflow/ir.ts";
import { coloured, duration, icon } from "./format.ts";
import type { Colors } from "./terminal.ts";

export interface GraphNode {
  id: string;
  type: string;
  level: number;
  trigger_rule: TriggerRule;
  /** Null: the graph is a file's, nothing ran. */
  status: NodeStatus | null;
  reason: string | null;
  duration_ms: number | null;
}

export interface GraphEdge {
  from: string;
  to: string;
  on: EdgeOn;
  condition: string | null;
}

export interface Graph {
  name: string;
  version: number | null;
  run_id: string | null;
  status: RunStatus | null;
  nodes: GraphNode[];
  edges: GraphEdge[];
}

/** What a run knows of a node. */
type NodeState = Pick<GraphNode, "status" | "reason" | "duration_ms">;

/** The graph of a run, or (without `run`) of a workflow alone. */
export function graphOf(
  ir: IR,
  version: number | null,
  run?: { run_id: string; status: RunStatus; nodes: ReadonlyMap<string, NodeState> },
): Graph {
  const pending: NodeState = { status: run ? "PENDING" : null, reason: null, duration_ms: null };
  const idOf = (index: number) => ir.nodes[index]?.id as string;
  return {
    name: ir.name,
    version,
    run_id: run?.run_id ?? null,
    status: run?.status ?? null,
    nodes: ir.nodes.map(({ id, type, level, trigger_rule }) => {
      const { status, reason, duration_ms } = run?.nodes.get(id) ?? pending;
      return { id, type, level, trigger_rule, status, reason, duration_ms };
    }),
    // In the order in which each node tries its edges.
    edges: ir.nodes.flatMap(({ out }) =>
      out.map((index) => {
        const edge = ir.edges[index] as IR["edges"][number];
        return {
          from: idOf(edge.from),
          to: idOf(edge.to),
          on: edge.on,
          condition: edge.condition ?? null,
        };
      }),
    ),
  };
}

/** Level by level: each node with the edges that leave it. */
export function graphText(graph: Graph, colors: Colors, width: number): string {
  const title = graph.version === null ? graph.name : `${graph.name} version ${graph.version}`;
  const run = graph.run_id === null ? "" : `  run ${graph.run_id}`;
  const status = graph.status === null ? "" : `  ${coloured(graph.status, colors)}`;
  const lines = [`${colors.bold(title)}${run}${status}`];
  const idWidth = Math.min(40, Math.max(...graph.nodes.map(({ id }) => id.length)));
  const bySource = groupBySource(graph.edges);
  let level = -1;
  // The order of the IR is topological, not by level.
  const nodes = graph.nodes.toSorted((left, right) => left.level - right.level);
  for (const node of nodes) {
    if (node.level !== level) lines.push(colors.dim(`level ${node.level}`));
    level = node.level;
    lines.push(nodeLine(node, idWidth, colors));
    lines.push(...edgeLines(node, bySource.get(node.id) ?? [], colors, width));
  }
  return lines.join("\n");
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
  const plain = edges.every(({ on, condition }) => on === "success" && condition === null);
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

/** When the edge is taken. */
function marksOf({ on, condition }: GraphEdge, { type }: GraphNode): string {
  if (condition === null && on === "success") return type === "conditional" ? "otherwise" : "";
  return [...(on === "success" ? [] : [`on ${on}`]), ...(condition === null ? [] : [`if ${condition}`])].join(
    " ",
  );
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

/** A Mermaid flowchart; with the run's statuses as classes, if it has any. */
export function graphMermaid(graph: Graph): string {
  const index = new Map(graph.nodes.map(({ id }, position) => [id, position]));
  const lines = ["flowchart TD"];
  for (const { id, type, status } of graph.nodes) {
    const css = status === null ? "" : `:::${status.toLowerCase()}`;
    lines.push(`  n${index.get(id)}["${mermaidText(id)}<br/>${mermaidText(type)}"]${css}`);
  }
  for (const { from, to, on, condition } of graph.edges) {
    const label = [...(on === "success" ? [] : [on]), ...(condition === null ? [] : [condition])].join(": ");
    const arrow = on === "failure" ? "-.->" : "-->";
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
