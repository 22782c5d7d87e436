/**
 * Joins of which only some arrivals are ever taken together, as they lie behind branches that exclude each other: their data is
 * an object by node id whose members come and go. Expressions that read `data` as if it were one output are warned of.
 */
import type { CheckedGraph } from "./check.ts";
import type { Draft } from "./draft.ts";
import { choicesOf, joinsOfExclusive } from "./exclusive_joins.ts";
import { type Faults, quote } from "./faults.ts";
import type { Link } from "./graph.ts";
import { NODE_EXPRESSIONS } from "./node_expressions.ts";

/** `data.name`, with what stands before it: `has(data.name)` asks, and is no use. */
const FIELD = /(has\(\s*)?\bdata\.([A-Za-z_][A-Za-z0-9_]*)/g;

export function warnOfPartialJoins(draft: Draft, checked: CheckedGraph, warnings: Faults): void {
  for (const join of joinsOfExclusive(checked, choicesOf(draft, checked))) {
    const node = draft.nodes[join];
    const { parsed } = node ?? {};
    if (node === undefined || parsed === undefined || parsed.input !== undefined) continue;
    const ids = (checked.graph.in[join] as Link[]).map(({ from }) => draft.nodes[from]?.id as string);
    const warn = (path: string, what: string) => {
      const message = `${what}: ${quote(node.id as string)} has several predecessors of which only some are taken, so its data is an object of those by node id`;
      const hint = `Lead them to an aggregate with strategy coalesce first, or write \`input\`: has(data.${ids[0]}) ? data.${ids[0]} : data.${ids[1]}`;
      warnings.add("JOIN_DATA", path, message, hint);
    };
    if (parsed.type === "filter") warn(node.path, "a filter needs a list");
    for (const { type, property } of NODE_EXPRESSIONS) {
      const source = parsed.type === type ? (parsed.config as Record<string, unknown>)[property] : undefined;
      if (typeof source !== "string" || type === "filter") continue;
      const asked = new Set([...source.matchAll(FIELD)].flatMap(([, has, name]) => (has ? [name] : [])));
      const read = [...source.matchAll(FIELD)].find(([, has, name]) => !has && !asked.has(name));
      if (read !== undefined) warn(`${node.path}.config.${property}`, `data.${read[2]} may not be there`);
    }
  }
}
