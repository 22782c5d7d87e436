/** The IR as scripts read it: one hash field per node, so that a step reads only the nodes that it touches. */
import type { IR, IRNode } from "../workflow/ir.ts";

const ON_LETTER = { success: "s", failure: "f", always: "a" } as const;

function edgeTo(ir: IR, edgeIndex: number, target: number, on: string): unknown[] {
  const node = ir.nodes[target] as IRNode;
  return [edgeIndex, target, on, node.in.length, node.trigger_rule, node.queue];
}

/** Alternating field names and values; the forms are described in lua/lib/run.lua. */
export function packIR(ir: IR): string[] {
  const fields: string[] = [];
  ir.nodes.forEach((node, index) => {
    const outgoing = node.out.map((edgeIndex) => {
      const edge = ir.edges[edgeIndex] as IR["edges"][number];
      return edgeTo(ir, edgeIndex, edge.to, ON_LETTER[edge.on]);
    });
    fields.push(`o${index}`, JSON.stringify(outgoing));
    if (node.in.length > 1) {
      fields.push(`i${index}`, JSON.stringify(node.in.map((edge) => [edge, ir.edges[edge]?.from])));
    }
  });
  fields.push("oroot", JSON.stringify(ir.entries.map((entry) => edgeTo(ir, -1, entry, "s"))));
  return fields;
}

/** All queues that an IR names, the default one first. */
export function queuesOf(ir: IR): string[] {
  return [...new Set(["default", ...ir.nodes.map((node) => node.queue)])];
}
