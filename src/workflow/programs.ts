/** The compiled expressions of an IR, made on first use and kept as long as the IR itself. */
import { assert } from "../base/assert.ts";
import { pathText } from "../base/json.ts";
import { compileExpression, type Expression } from "./cel.ts";
import type { ExpressionKind } from "./expression_place.ts";
import type { IR, IREdge, IRNode } from "./ir.ts";
import { readTemplate, type Template } from "./templates.ts";

export interface Programs {
  /** The condition of an edge; undefined: unconditional. */
  condition(edgeIndex: number): Expression | undefined;
  /** The expression of a `transform` node; undefined for other types. */
  transform(nodeIndex: number): Expression | undefined;
  /** The expression of a `filter` node, to be evaluated for each item; undefined for other types. */
  filter(nodeIndex: number): Expression | undefined;
  /** The template `text` at `path` in the config of an `http` node. */
  template(nodeIndex: number, path: readonly PropertyKey[], text: string): Template;
  /** The expression of the run's output; undefined: the terminal nodes' outputs. */
  output(): Expression | undefined;
}

const cache = new WeakMap<IR, Programs>();

/**
 * The programs of an IR that `compile` or `loadIr` made. Keyed by the object, so keep one object per digest.
 * @throws InvalidInputError from its methods if an expression does not compile, which only an unchecked IR can cause.
 */
export function programsOf(ir: IR): Programs {
  const known = cache.get(ir);
  if (known !== undefined) return known;
  const programs = makePrograms(ir);
  cache.set(ir, programs);
  return programs;
}

/** What an edge's condition is called in messages. */
function conditionLabel(from: string, to: string): string {
  return `condition of edge "${from}" -> "${to}"`;
}

/** Which variables an edge's condition sees. */
export function conditionKind(on: IREdge["on"]): ExpressionKind {
  return on === "success" ? "condition" : "failure_condition";
}

function makePrograms(ir: IR): Programs {
  const compiled = new Map<string, Expression>();
  const lookUp = (
    key: string,
    kind: ExpressionKind,
    label: string,
    source: unknown,
  ): Expression | undefined => {
    if (typeof source !== "string") return undefined;
    let expression = compiled.get(key);
    if (expression === undefined) {
      expression = compileExpression(source, { kind, label });
      compiled.set(key, expression);
    }
    return expression;
  };
  const ofNode = (nodeIndex: number, type: "transform" | "filter", property: string) => {
    const node = ir.nodes[nodeIndex] as IRNode;
    if (node.type !== type) return undefined;
    return lookUp(`node ${nodeIndex}`, type, `${property} of node "${node.id}"`, node.config[property]);
  };
  const templates = new Map<string, Template>();
  return {
    template(nodeIndex, path, text) {
      const key = JSON.stringify([nodeIndex, ...path]);
      let template = templates.get(key);
      if (template === undefined) {
        const where = pathText(path).slice(2);
        template = compileTemplate(text, `${where} of node "${(ir.nodes[nodeIndex] as IRNode).id}"`);
        templates.set(key, template);
      }
      return template;
    },
    condition(edgeIndex) {
      const edge = ir.edges[edgeIndex] as IREdge;
      if (edge.condition === undefined) return undefined;
      const label = conditionLabel((ir.nodes[edge.from] as IRNode).id, (ir.nodes[edge.to] as IRNode).id);
      return lookUp(`edge ${edgeIndex}`, conditionKind(edge.on), label, edge.condition);
    },
    transform: (nodeIndex) => ofNode(nodeIndex, "transform", "expression"),
    filter: (nodeIndex) => ofNode(nodeIndex, "filter", "filter_expression"),
    output: () => lookUp("output", "output", "output of the workflow", ir.output),
  };
}

function compileTemplate(text: string, label: string): Template {
  const reading = readTemplate(text);
  assert(reading.ok, "a template of an IR has been checked");
  return reading.parts.map((part) =>
    "text" in part ? part.text : compileExpression(part.expression, { kind: "template", label }),
  );
}
