/** The compiled expressions of an IR, made on first use and kept as long as the IR itself. */
import { assert } from "../../base/assert.ts";
import { pathText } from "../../base/json.ts";
import { compileExpression, type Expression } from "../cel/cel.ts";
import type { ExpressionKind, ExpressionPlace } from "../cel/expression_place.ts";
import { readTemplate, TEMPLATE_KINDS, type Template, type TemplateType } from "../cel/templates.ts";
import { NODE_EXPRESSIONS, type NodeExpression } from "../file/node_expressions.ts";
import type { IR, IREdge, IRNode } from "./ir.ts";

export interface Programs {
  /** The condition of an edge; undefined: unconditional. */
  condition(edgeIndex: number): Expression | undefined;
  /** What replaces a node's data; undefined: nothing does. */
  input(nodeIndex: number): Expression | undefined;
  /** The expression of a `transform` node; undefined for other types. */
  transform(nodeIndex: number): Expression | undefined;
  /** The expression of a `filter` node, to be evaluated for each item; undefined for other types. */
  filter(nodeIndex: number): Expression | undefined;
  /** The condition of a `loop` node; undefined: true, or another type. */
  loopCondition(nodeIndex: number): Expression | undefined;
  /** The list of a `map` node; undefined for other types. */
  items(nodeIndex: number): Expression | undefined;
  /** What ends a `map` node early; undefined: nothing, or another type. */
  completeWhen(nodeIndex: number): Expression | undefined;
  /** The time of a `wait` node; undefined: `until` is a time or absent, or another type. */
  until(nodeIndex: number): Expression | undefined;
  /** The template `text` at `path` in the config of an `http` or `subworkflow` node. */
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
  const ofNode = (kind: ExpressionKind) => {
    const place = NODE_EXPRESSIONS.find((expression) => expression.kind === kind) as NodeExpression;
    return (nodeIndex: number) => {
      const node = ir.nodes[nodeIndex] as IRNode;
      const source = node.config[place.property];
      if (node.type !== place.type || (typeof source === "string" && place.isLiteral?.(source)))
        return undefined;
      return lookUp(`${kind} ${nodeIndex}`, kind, `${place.property} of node "${node.id}"`, source);
    };
  };
  const templates = new Map<string, Template>();
  return {
    template(nodeIndex, path, text) {
      const key = JSON.stringify([nodeIndex, ...path]);
      let template = templates.get(key);
      if (template === undefined) {
        const { id, type } = ir.nodes[nodeIndex] as IRNode;
        const kind = TEMPLATE_KINDS[type as TemplateType];
        template = compileTemplate(text, { kind, label: `${pathText(path).slice(2)} of node "${id}"` });
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
    input(nodeIndex) {
      const { id, input } = ir.nodes[nodeIndex] as IRNode;
      return lookUp(`input ${nodeIndex}`, "node_input", `input of node "${id}"`, input);
    },
    transform: ofNode("transform"),
    filter: ofNode("filter"),
    loopCondition: ofNode("loop_condition"),
    items: ofNode("items"),
    completeWhen: ofNode("complete_when"),
    until: ofNode("until"),
    output: () => lookUp("output", "output", "output of the workflow", ir.output),
  };
}

function compileTemplate(text: string, place: ExpressionPlace): Template {
  const reading = readTemplate(text);
  assert(reading.ok, "a template of an IR has been checked");
  return reading.parts.map((part) =>
    "text" in part ? part.text : compileExpression(part.expression, place),
  );
}
