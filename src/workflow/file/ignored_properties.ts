/**
 * Properties of a node's `config` that hitzero does not know. What a handler is called with is open. Elsewhere they are
 * ignored, with a warning; one that looks like a slip in a known name is a fault, as it would change the meaning in silence.
 */
import { pathText } from "../../base/json.ts";
import { type Faults, quote, slipOf } from "../faults.ts";
import { functionOf } from "../ir/function_of.ts";
import { type FileNodeType, NODE_CONFIGS } from "./node_configs.ts";
import { propertiesOf } from "./schema_faults.ts";

interface Place {
  /** Of the config. */
  path: readonly PropertyKey[];
  /** Properties that stand at a node itself. */
  ofNode: readonly string[];
}

export function checkConfigProperties(
  type: FileNodeType,
  config: Record<string, unknown>,
  { path, ofNode }: Place,
  { faults, warnings }: { faults: Faults; warnings: Faults },
): void {
  const known = propertiesOf(NODE_CONFIGS[type]);
  const isOpen = functionOf({ type: type as never, config }) !== undefined;
  const isExpression = type === "transform" && config.expression !== undefined;
  for (const name of Object.keys(config)) {
    if (known.includes(name) && !(isExpression && name !== "expression")) continue;
    const at = pathText([...path, name]);
    const meant = known.includes(name) ? undefined : slipOf(name, known);
    if (meant !== undefined) {
      const message = `the property ${quote(name)} is not known here`;
      faults.add("UNKNOWN_PROPERTY", at, message, `Did you mean ${quote(meant)}?`);
      continue;
    }
    const ofNodeItself = ofNode.includes(name) ? name : isOpen ? undefined : slipOf(name, ofNode);
    if (isOpen && ofNodeItself === undefined) continue;
    const message = `hitzero does not read ${quote(name)} in the config of this node, of type ${type}`;
    const hint =
      ofNodeItself === undefined
        ? `Remove it, or look for a slip: known are ${known.length === 0 ? "none" : known.join(", ")}.`
        : `If it is meant for hitzero, write it as ${ofNodeItself} beside config.`;
    warnings.add("IGNORED_PROPERTY", at, message, hint);
  }
}
