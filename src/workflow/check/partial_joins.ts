/**
 * Joins of which only some arrivals are ever taken together, as they lie behind branches that exclude each other: their data is
 * an object by node id whose members come and go. Expressions that read `data` as if it were one output are warned of.
 */
import { pathText } from "../../base/json.ts";
import { hasTemplates, holdsTemplate, readTemplate, templateTexts } from "../cel/templates.ts";
import type { Draft, DraftNode } from "../compile/draft.ts";
import { type Faults, quote } from "../faults.ts";
import { NODE_EXPRESSIONS } from "../file/node_expressions.ts";
import type { FileNode } from "../file/schema.ts";
import type { Link } from "../graph.ts";
import type { CheckedGraph } from "./check.ts";
import { choicesOf, joinsOfExclusive } from "./exclusive_joins.ts";

interface Source {
  path: string;
  text: string;
  /** Finds what is read there of the node's data. */
  reads: RegExp;
}

/** `data.name`, with what stands before it: `has(data.name)` asks, and is no use. */
const OF_DATA = /(has\(\s*)?\b(data)\.([A-Za-z_][A-Za-z0-9_]*)/g;
const OF_DATA_OR_OUTPUT = /(has\(\s*)?\b(data|output)\.([A-Za-z_][A-Za-z0-9_]*)/g;
/** `nodes["id"].output.name` is of somebody else. */
const OF_NODES = /\bnodes\s*\[[^\]]*\]\s*\.output\b|\bnodes\.\w+\.output\b/g;

export function warnOfPartialJoins(draft: Draft, checked: CheckedGraph, warnings: Faults): void {
  for (const join of joinsOfExclusive(checked, choicesOf(draft, checked))) {
    const node = draft.nodes[join];
    const { parsed } = node ?? {};
    if (node === undefined || parsed === undefined) continue;
    const ids = (checked.graph.in[join] as Link[]).map(({ from }) => draft.nodes[from]?.id as string);
    const warn = (path: string, what: string) => {
      const message = `${what}: ${quote(node.id as string)} has several predecessors of which only some are taken, so its data is an object of those by node id`;
      const hint = `Lead them to an aggregate with strategy coalesce first, or write \`input\`: has(data.${ids[0]}) ? data.${ids[0]} : data.${ids[1]}`;
      warnings.add("JOIN_DATA", path, message, hint);
    };
    if (parsed.type === "filter" && parsed.input === undefined) warn(node.path, "a filter needs a list");
    for (const { path, text, reads } of sourcesAt(node, parsed, draft, checked)) {
      const read = uncertainIn(text, reads, ids);
      if (read !== undefined) warn(path, `${read} may not be there`);
    }
  }
}

/** What is read without a question whether it came; undefined: nothing is. Who asks for one predecessor may read another instead. */
function uncertainIn(text: string, reads: RegExp, ids: readonly string[]): string | undefined {
  const found = [...text.replaceAll(OF_NODES, "").matchAll(reads)];
  const asked = new Set(found.flatMap(([, has, , name]) => (has ? [name as string] : [])));
  const choosesOne = ids.some((id) => asked.has(id));
  const read = found.find(
    ([, has, , name = ""]) => !has && !asked.has(name) && !(choosesOne && ids.includes(name)),
  );
  return read && `${read[2]}.${read[3]}`;
}

/** Expressions that see what a node was given: its `input` alone, else its own and those of its outgoing edges. */
function* sourcesAt(
  node: DraftNode,
  parsed: FileNode,
  draft: Draft,
  { graph }: CheckedGraph,
): Generator<Source> {
  const { type, input } = parsed;
  if (input !== undefined) {
    yield { path: `${node.path}.input`, text: input, reads: OF_DATA };
    return;
  }
  const config = parsed.config as Record<string, unknown>;
  for (const { type: of, property, isLiteral } of NODE_EXPRESSIONS) {
    const text = of === type && of !== "filter" ? config[property] : undefined;
    if (typeof text !== "string" || isLiteral?.(text)) continue;
    yield { path: `${node.path}.config.${property}`, text, reads: OF_DATA };
  }
  if (hasTemplates(type)) yield* templatesOf(type, node, config);
  const reads = handsOn(parsed) ? OF_DATA_OR_OUTPUT : OF_DATA;
  for (const { edge } of graph.out[node.position] as Link[]) {
    const { path, parsed: file } = draft.edges[edge] ?? {};
    if (file?.condition !== undefined) yield { path: `${path}.condition`, text: file.condition, reads };
  }
}

function* templatesOf(
  type: "http" | "subworkflow",
  node: DraftNode,
  config: Record<string, unknown>,
): Generator<Source> {
  for (const { text, path } of templateTexts(type, config)) {
    const reading = holdsTemplate(text) ? readTemplate(text) : undefined;
    if (!reading?.ok) continue;
    const at = `${node.path}.config${pathText(path).slice(1)}`;
    for (const part of reading.parts)
      if ("expression" in part) yield { path: at, text: part.expression, reads: OF_DATA };
  }
}

/** Is its output its data? */
function handsOn({ type, config }: FileNode): boolean {
  if (type === "loop") return (config as { function_name?: string }).function_name === undefined;
  return type === "conditional" || type === "parallel" || type === "wait";
}
