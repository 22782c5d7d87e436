/** Small workflows for the tests of the workflow layer. */
import { expect } from "vitest";
import type { Fault } from "../../../src/base/errors.ts";
import { InvalidInputError } from "../../../src/base/errors.ts";
import { compile } from "../../../src/workflow/compile/compile.ts";

export interface Document {
  [key: string]: unknown;
  name: string;
  nodes: Record<string, unknown>[];
  edges: Record<string, unknown>[];
}

/** A `function` node. */
export function step(id: string, more: Record<string, unknown> = {}): Record<string, unknown> {
  return { id, type: "function", config: { function_name: "work" }, ...more };
}

/** A workflow of `function` nodes; edges as "a>b". */
export function workflow(ids: string, edges = "", more: Record<string, unknown> = {}): Document {
  return {
    name: "test",
    nodes: words(ids).map((id) => step(id)),
    edges: words(edges).map((text) => {
      const [from, to] = text.split(">");
      return { from, to };
    }),
    ...more,
  };
}

function words(text: string): string[] {
  return text.split(" ").filter((word) => word !== "");
}

/** The faults that compiling a document reports; none if it compiles. */
export function faultsOf(document: unknown): readonly Fault[] {
  try {
    compile(document);
    return [];
  } catch (error) {
    if (error instanceof InvalidInputError) return error.faults;
    throw error;
  }
}

/** A `loop` node. */
export function loop(
  id: string,
  back: string,
  config: Record<string, unknown> = {},
): Record<string, unknown> {
  return { id, type: "loop", config: { loop_back_to: back, max_iterations: 3, ...config } };
}

/** A `map` node over `data`; its body as the nodes and edges of `workflow`, or any other config. */
export function map(id: string, body: Document | Record<string, unknown>): Record<string, unknown> {
  const { nodes, edges } = body;
  const config = nodes === undefined ? body : { body: { nodes, edges } };
  return { id, type: "map", config: { items: "data", ...config } };
}

/** `workflow`, with some of its nodes replaced by those of the same id. */
export function workflowWith(
  ids: string,
  edges: string,
  nodes: readonly Record<string, unknown>[],
  more: Record<string, unknown> = {},
): Document {
  const document = workflow(ids, edges, more);
  const byId = new Map(nodes.map((node) => [node.id, node]));
  return { ...document, nodes: document.nodes.map((node) => byId.get(node.id) ?? node) };
}

export const transform = (id: string, expression: unknown) => ({
  id,
  type: "transform",
  config: { expression },
});

export const edge = (from: string, to: string, more: Record<string, unknown> = {}) => ({ from, to, ...more });

/** A document, a fault that it has, and words of its message. */
export type Case = [code: string, path: string, document: unknown, says?: string];

export function expectFault(code: string, path: string, document: unknown, says = ""): void {
  const faults = faultsOf(document);
  const fault = faults.find((candidate) => candidate.code === code && candidate.path === path);
  expect(fault, JSON.stringify(faults)).toBeDefined();
  expect(fault?.message).toContain(says);
  expect(fault?.hint).not.toBe("");
}
