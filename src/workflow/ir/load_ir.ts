/**
 * Verifies an IR that comes from outside (a file of `compile --out`, a store). Nothing derived is believed: the workflow is
 * read back from the IR, compiled anew, and must give the very same document.
 */
import { z } from "zod";
import { canonicalJson, pathText } from "../../base/json.ts";
import { type Compiled, compileWorkflow, digestOf } from "../compile/compile_workflow.ts";
import { isObject } from "../compile/draft.ts";
import { Faults, quote } from "../faults.ts";
import { fileOf } from "../file/file_of.ts";
import { toPlainJson } from "../file/plain_json.ts";
import { parseWith } from "../file/schema_faults.ts";
import { IR_FORMAT } from "./ir.ts";

const Index = z.int().min(0);
const BodyIndex = z.int().min(-1);
const Anything = z.unknown();

const NodeShape = z.strictObject({
  id: z.string(),
  type: z.string(),
  config: z.record(z.string(), Anything),
  level: Index,
  trigger_rule: Anything,
  terminal: z.boolean(),
  in: z.array(Index),
  out: z.array(Index),
  needs: z.array(Index),
  retry: z.record(z.string(), Anything),
  timeout_ms: Anything,
  queue: Anything,
  priority: Anything,
  input: Anything.optional(),
  body: BodyIndex,
  loop: Anything.optional(),
  map_body: Index.optional(),
  cancels: z.array(Index).optional(),
  cancels_at: Anything.optional(),
  compensation: Index.optional(),
  compensates: Index.optional(),
  holds: Anything.optional(),
  unless: z.array(Index).optional(),
});

const EdgeShape = z.strictObject({
  from: Index,
  to: Index,
  on: Anything,
  condition: Anything.optional(),
  priority: Anything,
  exits: Anything.optional(),
  enters: Anything.optional(),
});

const BodyShape = z.strictObject({
  kind: z.enum(["loop", "map"]),
  node: Index,
  parent: BodyIndex,
  entries: z.array(Index),
  terminals: z.array(Index),
  ends: z.array(Index),
});

const IRShape = z.strictObject({
  format: z.literal(IR_FORMAT),
  name: z.string(),
  nodes: z.array(NodeShape).min(1),
  edges: z.array(EdgeShape),
  entries: z.array(Index),
  terminals: z.array(Index),
  ends: z.array(Index),
  levels: Index,
  bodies: z.array(BodyShape),
  semaphores: z.record(z.string(), Anything),
  vars: z.record(z.string(), Anything),
  output: Anything.optional(),
  output_needs: z.array(Index),
  input_schema: Anything.optional(),
  timeout_ms: Anything,
  max_parallel_nodes: Anything,
  fail_fast: Anything,
});

/** An IR whose derived values have not been looked at. */
export type Shape = z.output<typeof IRShape>;

const RECOMPILE = "Compile the workflow again with this version.";

/**
 * Loads an IR.
 * @throws InvalidInputError: IR_FORMAT, IR_INCONSISTENT, and every fault that the workflow itself would have.
 */
export function loadIr(document: unknown): Compiled {
  const faults = new Faults();
  const plain = toPlainJson(document, "the IR", faults);
  const what = isObject(plain) && typeof plain.name === "string" ? `IR ${quote(plain.name)}` : "the IR";
  const shape = faults.isEmpty ? readShape(plain, faults) : undefined;
  if (shape !== undefined) checkRanges(shape, faults);
  faults.throwIfAny(what);
  const compiled = compileWorkflow(fileOf(shape as Shape));
  if (digestOf(plain) !== compiled.digest) {
    const path = firstDifference(plain, compiled.ir, []) ?? [];
    const message = "the value here does not follow from the nodes and edges";
    faults.add("IR_INCONSISTENT", pathText(path), message, RECOMPILE);
    faults.throwIfAny(what);
  }
  return compiled;
}

function readShape(plain: unknown, faults: Faults): Shape | undefined {
  if (isObject(plain) && plain.format !== IR_FORMAT) {
    const message = `this IR has another format than ${IR_FORMAT}, the one this version reads`;
    faults.add("IR_FORMAT", "$.format", message, RECOMPILE);
    return undefined;
  }
  return parseWith(IRShape, plain, [], faults);
}

function checkRanges(shape: Shape, faults: Faults): void {
  const { nodes, bodies } = shape;
  const check = (index: number, count: number, what: string, path: string) => {
    if (index < count) return;
    const message = `there is no ${what} ${index}; the IR has ${count}`;
    faults.add(what === "node" ? "UNKNOWN_NODE" : "IR_INCONSISTENT", path, message, RECOMPILE);
  };
  for (const [index, edge] of shape.edges.entries())
    for (const end of ["from", "to"] as const)
      check(edge[end], nodes.length, "node", `$.edges[${index}].${end}`);
  for (const [index, node] of nodes.entries()) {
    const path = `$.nodes[${index}]`;
    check(node.body, bodies.length, "body", `${path}.body`);
    check(node.map_body ?? 0, bodies.length + 1, "body", `${path}.map_body`);
    check(node.compensation ?? 0, nodes.length, "node", `${path}.compensation`);
    for (const [place, other] of (node.cancels ?? []).entries())
      check(other, nodes.length, "node", `${path}.cancels[${place}]`);
    for (const [place, other] of (node.unless ?? []).entries())
      check(other, nodes.length, "node", `${path}.unless[${place}]`);
  }
  for (const [index, body] of bodies.entries()) {
    check(body.node, nodes.length, "node", `$.bodies[${index}].node`);
    // Outer bodies come first, which also keeps walks outwards finite.
    if (body.parent >= index) check(body.parent, index, "body", `$.bodies[${index}].parent`);
  }
}

/** Path of the first place where two JSON documents differ. */
function firstDifference(given: unknown, expected: unknown, path: PropertyKey[]): PropertyKey[] | undefined {
  if (!isContainer(given) || !isContainer(expected) || Array.isArray(given) !== Array.isArray(expected)) {
    return canonicalJson(given) === canonicalJson(expected) ? undefined : path;
  }
  for (const key of new Set([...Object.keys(given), ...Object.keys(expected)])) {
    const part = Array.isArray(given) ? Number(key) : key;
    const difference = firstDifference(given[key], expected[key], [...path, part]);
    if (difference !== undefined) return difference;
  }
  return undefined;
}

function isContainer(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
