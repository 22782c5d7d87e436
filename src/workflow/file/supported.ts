/**
 * What the workflow file can say but this version cannot run yet. It is refused by name, never ignored. When a feature is
 * built, its line here is deleted.
 */
import type { Draft } from "../compile/draft.ts";
import { type Faults, quote } from "../faults.ts";
import type { FileNodeType } from "./node_configs.ts";

const UNSUPPORTED_TYPES: ReadonlySet<unknown> = new Set<FileNodeType>(["deploy", "rollback"]);

/** Adds a NOT_SUPPORTED_YET for each use of what is not built yet. */
export function checkSupported(draft: Draft, faults: Faults): void {
  for (const { raw, path } of draft.nodes) {
    if (!UNSUPPORTED_TYPES.has(raw.type)) continue;
    const message = `the node type ${quote(raw.type as string)} is not supported by this version yet`;
    faults.add("NOT_SUPPORTED_YET", `${path}.type`, message, "Leave the node out, or use a function node.");
  }
}
