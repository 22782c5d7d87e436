/** Which properties of a node's config are expressions. */
import type { ExpressionKind } from "../cel/expression_place.ts";
import type { FileNodeType } from "./node_configs.ts";
import { isTime } from "./time_text.ts";

export interface NodeExpression {
  type: FileNodeType;
  property: string;
  kind: ExpressionKind;
  /** Values that are no expression. */
  isLiteral?(value: string): boolean;
}

export const NODE_EXPRESSIONS: readonly NodeExpression[] = [
  { type: "transform", property: "expression", kind: "transform" },
  { type: "filter", property: "filter_expression", kind: "filter" },
  { type: "loop", property: "condition", kind: "loop_condition" },
  { type: "map", property: "items", kind: "items" },
  { type: "map", property: "complete_when", kind: "complete_when" },
  { type: "wait", property: "until", kind: "until", isLiteral: isTime },
];
