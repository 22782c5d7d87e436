/**
 * A workflow file as far as it can be read. One bad property must not hide the faults of the rest, so every node and edge
 * is parsed by itself, and the graph is drawn from all ids that can be told. The bodies of maps are laid flat: their nodes
 * follow their map node.
 */
import { pathText } from "../../base/json.ts";
import { didYouMean, type Faults, quote } from "../faults.ts";
import { checkConfigProperties } from "../file/ignored_properties.ts";
import { type FileNodeType, type MapConfig, NODE_CONFIGS } from "../file/node_configs.ts";
import {
  EdgeSchema,
  type FileEdge,
  type FileNode,
  type Header,
  HeaderSchema,
  NODE_PROPERTIES,
  NODE_SCHEMAS,
  UnknownNodeSchema,
  WorkflowName,
} from "../file/schema.ts";
import { kindOf, parseWith } from "../file/schema_faults.ts";
import { itemIdOf } from "../ir/hidden_nodes.ts";
import { LIMITS } from "../limits.ts";

export interface DraftNode {
  /** Place in the draft's `nodes`. */
  position: number;
  /** JSON path: `$.nodes[3]`. */
  path: string;
  /** Position of the map node in whose body it stands; -1: none. */
  container: number;
  /** Undefined if it is no string. */
  id: string | undefined;
  /** The node as written. */
  raw: Record<string, unknown>;
  /** Undefined if it has faults. */
  parsed: FileNode | undefined;
}

export interface DraftEdge {
  /** Place in the draft's `edges`. */
  position: number;
  path: string;
  /** Position of the map node in whose body it stands; -1: none. */
  container: number;
  from: string | undefined;
  to: string | undefined;
  raw: Record<string, unknown>;
  parsed: FileEdge | undefined;
}

export interface Draft {
  /** As given; a string unless the header has a fault. */
  name: unknown;
  raw: Record<string, unknown>;
  header: Header | undefined;
  nodes: DraftNode[];
  edges: DraftEdge[];
}

/** What is found while reading. */
interface Findings {
  faults: Faults;
  warnings: Faults;
}

/**
 * Reads a workflow file.
 * @param defaultName the workflow's name where the file gives none
 * @returns undefined if the document is so far from a workflow that nothing more can be said.
 */
export function readDraft(
  document: unknown,
  defaultName: string | undefined,
  findings: Findings,
): Draft | undefined {
  const { faults } = findings;
  if (!isObject(document)) {
    const message = `a workflow is an object, not ${kindOf(document)}`;
    faults.add("NOT_A_WORKFLOW", "$", message, 'Write { "name": …, "nodes": […], "edges": […] }.');
    return undefined;
  }
  const { nodes, edges, ...rest } = document;
  const name = nameOf(rest, defaultName, faults);
  const header = parseWith(HeaderSchema, { ...rest, name }, [], faults);
  const rawNodes = readList(nodes, "nodes", faults);
  const rawEdges = edges === undefined ? [] : readList(edges, "edges", faults);
  if (rawNodes === undefined || rawEdges === undefined) return undefined;
  if (rawNodes.length === 0)
    faults.add("NO_NODES", "$.nodes", "the workflow has no nodes", "Add at least one node.");
  const draft: Draft = { name, raw: document, header, nodes: [], edges: [] };
  readGraph({ nodes: rawNodes, edges: rawEdges, path: [], container: -1 }, draft, findings);
  checkCount(draft.nodes.length, "nodes", faults);
  checkCount(draft.edges.length, "edges", faults);
  return draft;
}

/** The name of the file itself, of its metadata, or that of the file as such. Faults of the first are reported with the header. */
function nameOf(
  { name, metadata }: Record<string, unknown>,
  defaultName: string | undefined,
  faults: Faults,
): unknown {
  if (name !== undefined) return name;
  const described = isObject(metadata) ? metadata.name : undefined;
  if (described === undefined) return defaultName;
  // A name with a fault is reported here, where it stands; the header is given one that has none.
  return parseWith(WorkflowName, described, ["metadata", "name"], faults) ?? "unnamed";
}

/** A list of nodes and one of edges, and where they stand. */
interface RawGraph {
  nodes: readonly unknown[];
  edges: readonly unknown[];
  path: readonly PropertyKey[];
  container: number;
}

function readGraph({ nodes, edges, path, container }: RawGraph, draft: Draft, findings: Findings): void {
  for (const [index, raw] of edges.entries())
    draft.edges.push(
      readEdge(
        raw,
        { path: [...path, "edges", index], position: draft.edges.length, container },
        findings.faults,
      ),
    );
  for (const [index, raw] of nodes.entries()) {
    const nodePath = [...path, "nodes", index];
    const node = readNode(raw, { path: nodePath, position: draft.nodes.length, container }, findings);
    draft.nodes.push(node);
    if (node.raw.type === "map") readMap(node, nodePath, draft, findings);
  }
}

/** Lays the body of a map flat, and takes it out of the node's `config`. */
function readMap(map: DraftNode, path: readonly PropertyKey[], draft: Draft, findings: Findings): void {
  const body = isObject(map.raw.config) ? map.raw.config.body : undefined;
  if (isObject(body) && Array.isArray(body.nodes)) {
    const edges = Array.isArray(body.edges) ? body.edges : [];
    const bodyPath = [...path, "config", "body"];
    readGraph({ nodes: body.nodes, edges, path: bodyPath, container: map.position }, draft, findings);
  }
  if (map.parsed?.type !== "map") return;
  const { body: _, workflow, version, ...config } = map.parsed.config as MapConfig;
  map.parsed = { ...map.parsed, config };
  if (workflow !== undefined) draft.nodes.push(itemNode(map, { workflow, version }, draft.nodes.length));
}

/** A map of a workflow is a map whose body is one `subworkflow` node. */
function itemNode(
  map: DraftNode,
  config: { workflow: string; version: unknown },
  position: number,
): DraftNode {
  const { id, queue, priority } = map.parsed as FileNode;
  const raw = { id: "item", type: "subworkflow", config, queue, priority };
  const parsed = { ...NODE_SCHEMAS.subworkflow.parse(raw), id: itemIdOf(id) };
  return {
    position,
    path: `${map.path}.config.workflow`,
    container: map.position,
    id: parsed.id,
    raw,
    parsed,
  };
}

function readList(value: unknown, name: "nodes" | "edges", faults: Faults): unknown[] | undefined {
  const path = `$.${name}`;
  if (value === undefined) {
    faults.add("MISSING_PROPERTY", path, `"${name}" is missing`, `Add the list of ${name}.`);
    return undefined;
  }
  if (!Array.isArray(value)) {
    faults.add("WRONG_TYPE", path, `"${name}" must be a list, not ${kindOf(value)}`, `Write "${name}": […].`);
    return undefined;
  }
  return checkCount(value.length, name, faults) ? (value as unknown[]) : undefined;
}

function checkCount(count: number, name: "nodes" | "edges", faults: Faults): boolean {
  if (count <= LIMITS[name]) return true;
  const message = `the workflow has ${count} ${name}; the limit is ${LIMITS[name]}`;
  faults.add(
    "LIMIT_EXCEEDED",
    `$.${name}`,
    message,
    "Split it into sub-workflows, or map over a list instead of drawing each item.",
  );
  return false;
}

interface Where {
  path: readonly PropertyKey[];
  position: number;
  container: number;
}

function readNode(
  raw: unknown,
  { path: basePath, position, container }: Where,
  findings: Findings,
): DraftNode {
  const { faults } = findings;
  const path = pathText(basePath);
  if (!isObject(raw)) {
    faults.add(
      "WRONG_TYPE",
      path,
      `a node is an object, not ${kindOf(raw)}`,
      'Write { "id": …, "type": … }.',
    );
    return { position, path, container, id: undefined, raw: {}, parsed: undefined };
  }
  const id = typeof raw.id === "string" ? raw.id : undefined;
  const { type } = raw;
  if (isNodeType(type)) {
    const parsed = parseWith(NODE_SCHEMAS[type], withConfig(raw), basePath, faults) as FileNode | undefined;
    const configPlace = { path: [...basePath, "config"], ofNode: NODE_PROPERTIES };
    if (isObject(raw.config)) checkConfigProperties(type, raw.config, configPlace, findings);
    return { position, path, container, id, raw, parsed };
  }
  parseWith(UnknownNodeSchema, raw, basePath, faults);
  reportType(type, `${path}.type`, faults);
  return { position, path, container, id, raw, parsed: undefined };
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

function readEdge(raw: unknown, { path: basePath, position, container }: Where, faults: Faults): DraftEdge {
  const path = pathText(basePath);
  if (!isObject(raw)) {
    faults.add(
      "WRONG_TYPE",
      path,
      `an edge is an object, not ${kindOf(raw)}`,
      'Write { "from": …, "to": … }.',
    );
    return { position, path, container, from: undefined, to: undefined, raw: {}, parsed: undefined };
  }
  return {
    position,
    path,
    container,
    from: typeof raw.from === "string" ? raw.from : undefined,
    to: typeof raw.to === "string" ? raw.to : undefined,
    raw,
    parsed: parseWith(EdgeSchema, raw, basePath, faults),
  };
}

function isNodeType(type: unknown): type is FileNodeType {
  return typeof type === "string" && Object.hasOwn(NODE_CONFIGS, type);
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
