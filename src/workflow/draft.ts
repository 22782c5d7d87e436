/**
 * A workflow file as far as it can be read. One bad property must not hide the faults of the rest, so every node and edge
 * is parsed by itself, and the graph is drawn from all ids that can be told.
 */
import { pathText } from "../base/json.ts";
import { didYouMean, type Faults, quote } from "./faults.ts";
import { LIMITS } from "./limits.ts";
import { type FileNodeType, NODE_CONFIGS } from "./node_configs.ts";
import {
  EdgeSchema,
  type FileEdge,
  type FileNode,
  type Header,
  HeaderSchema,
  NODE_SCHEMAS,
  UnknownNodeSchema,
} from "./schema.ts";
import { kindOf, parseWith } from "./schema_faults.ts";

export interface DraftNode {
  /** Place in the file's `nodes`. */
  position: number;
  /** JSON path: `$.nodes[3]`. */
  path: string;
  /** Undefined if it is no string. */
  id: string | undefined;
  /** The node as written. */
  raw: Record<string, unknown>;
  /** Undefined if it has faults. */
  parsed: FileNode | undefined;
}

export interface DraftEdge {
  position: number;
  path: string;
  from: string | undefined;
  to: string | undefined;
  raw: Record<string, unknown>;
  parsed: FileEdge | undefined;
}

export interface Draft {
  raw: Record<string, unknown>;
  header: Header | undefined;
  nodes: DraftNode[];
  edges: DraftEdge[];
}

/** @returns undefined if the document is so far from a workflow that nothing more can be said. */
export function readDraft(document: unknown, faults: Faults): Draft | undefined {
  if (!isObject(document)) {
    const message = `a workflow is an object, not ${kindOf(document)}`;
    faults.add("NOT_A_WORKFLOW", "$", message, 'Write { "name": …, "nodes": […], "edges": […] }.');
    return undefined;
  }
  const { nodes, edges, ...rest } = document;
  const header = parseWith(HeaderSchema, rest, [], faults);
  const rawNodes = readList(nodes, "nodes", LIMITS.nodes, faults);
  const rawEdges = edges === undefined ? [] : readList(edges, "edges", LIMITS.edges, faults);
  if (rawNodes === undefined || rawEdges === undefined) return undefined;
  if (rawNodes.length === 0)
    faults.add("NO_NODES", "$.nodes", "the workflow has no nodes", "Add at least one node.");
  return {
    raw: document,
    header,
    nodes: rawNodes.map((raw, position) => readNode(raw, position, faults)),
    edges: rawEdges.map((raw, position) => readEdge(raw, position, faults)),
  };
}

function readList(value: unknown, name: string, limit: number, faults: Faults): unknown[] | undefined {
  const path = `$.${name}`;
  if (value === undefined) {
    faults.add("MISSING_PROPERTY", path, `"${name}" is missing`, `Add the list of ${name}.`);
    return undefined;
  }
  if (!Array.isArray(value)) {
    faults.add("WRONG_TYPE", path, `"${name}" must be a list, not ${kindOf(value)}`, `Write "${name}": […].`);
    return undefined;
  }
  if (value.length > limit) {
    const message = `the workflow has ${value.length} ${name}; the limit is ${limit}`;
    faults.add(
      "LIMIT_EXCEEDED",
      path,
      message,
      "Split it into sub-workflows, or map over a list instead of drawing each item.",
    );
    return undefined;
  }
  return value as unknown[];
}

function readNode(raw: unknown, position: number, faults: Faults): DraftNode {
  const path = pathText(["nodes", position]);
  if (!isObject(raw)) {
    faults.add(
      "WRONG_TYPE",
      path,
      `a node is an object, not ${kindOf(raw)}`,
      'Write { "id": …, "type": … }.',
    );
    return { position, path, id: undefined, raw: {}, parsed: undefined };
  }
  const id = typeof raw.id === "string" ? raw.id : undefined;
  const { type } = raw;
  if (isNodeType(type)) {
    const parsed = parseWith(NODE_SCHEMAS[type], withConfig(raw), ["nodes", position], faults) as
      | FileNode
      | undefined;
    return { position, path, id, raw, parsed };
  }
  parseWith(UnknownNodeSchema, raw, ["nodes", position], faults);
  reportType(type, `${path}.type`, faults);
  return { position, path, id, raw, parsed: undefined };
}

/** Without `config` the missing properties in it are reported, which tells more than that `config` is missing. */
function withConfig(raw: Record<string, unknown>): Record<string, unknown> {
  return raw.config === undefined ? { ...raw, config: {} } : raw;
}

function reportType(type: unknown, path: string, faults: Faults): void {
  const known = Object.keys(NODE_CONFIGS);
  const all = `Known types: ${known.join(", ")}.`;
  if (type === undefined) faults.add("MISSING_PROPERTY", path, '"type" is missing', all);
  else if (typeof type !== "string")
    faults.add("WRONG_TYPE", path, `"type" must be a string, not ${kindOf(type)}`, all);
  else faults.add("UNKNOWN_TYPE", path, `there is no node type ${quote(type)}`, didYouMean(type, known, all));
}

function readEdge(raw: unknown, position: number, faults: Faults): DraftEdge {
  const path = pathText(["edges", position]);
  if (!isObject(raw)) {
    faults.add(
      "WRONG_TYPE",
      path,
      `an edge is an object, not ${kindOf(raw)}`,
      'Write { "from": …, "to": … }.',
    );
    return { position, path, from: undefined, to: undefined, raw: {}, parsed: undefined };
  }
  return {
    position,
    path,
    from: typeof raw.from === "string" ? raw.from : undefined,
    to: typeof raw.to === "string" ? raw.to : undefined,
    raw,
    parsed: parseWith(EdgeSchema, raw, ["edges", position], faults),
  };
}

function isNodeType(type: unknown): type is FileNodeType {
  return typeof type === "string" && Object.hasOwn(NODE_CONFIGS, type);
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
