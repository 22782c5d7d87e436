/**
 * What the workflow file can say but this version cannot run yet. It is refused by name, never ignored. When a feature is
 * built, its line here is deleted.
 */
import type { Draft, DraftNode } from "./draft.ts";
import { type Faults, quote } from "./faults.ts";
import type { FileNodeType } from "./node_configs.ts";

const UNSUPPORTED_TYPES: ReadonlySet<FileNodeType> = new Set<FileNodeType>([
  "loop",
  "map",
  "subworkflow",
  "wait",
  "approval",
  "signal",
  "deploy",
  "rollback",
]);

const SUPPORTED_RULES: ReadonlySet<unknown> = new Set([
  "none_failed_min_one_success",
  "all_done",
  "one_success",
]);

/** Adds a NOT_SUPPORTED_YET for each use of what is not built yet. */
export function checkSupported(draft: Draft, faults: Faults): void {
  const refuse = (path: string, what: string, instead: string) =>
    faults.add("NOT_SUPPORTED_YET", path, `${what} is not supported by this version yet`, instead);
  for (const node of draft.nodes) checkNode(node, refuse);
}

function checkNode(node: DraftNode, refuse: (path: string, what: string, instead: string) => void): void {
  const { type } = node.raw;
  if (isUnsupportedType(type)) {
    refuse(
      `${node.path}.type`,
      `the node type ${quote(type)}`,
      "Leave the node out, or use a function node.",
    );
  }
  if (node.parsed === undefined) return;
  if (!SUPPORTED_RULES.has(node.parsed.trigger_rule)) {
    const rules = [...SUPPORTED_RULES].join(", ");
    refuse(`${node.path}.trigger_rule`, "this trigger rule", `Use one of ${rules}.`);
  }
}

function isUnsupportedType(type: unknown): type is FileNodeType {
  return UNSUPPORTED_TYPES.has(type as FileNodeType);
}
