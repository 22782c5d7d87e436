/** Signals that users give to runs: who may give which, checked before they are accepted. */
import { HitzeroError } from "../../base/errors.ts";
import { pathText } from "../../base/json.ts";
import type { SignalContent } from "../../postgres/commands.ts";
import { misfitsOf, type ValueSchema } from "../../workflow/file/value_schema.ts";
import type { IR, NodeType } from "../../workflow/ir/ir.ts";

export function isSignalled(type: NodeType): boolean {
  return type === "signal" || type === "approval" || type === "map";
}

function isMapPayload(payload: unknown): boolean {
  if (typeof payload !== "object" || payload === null || Array.isArray(payload)) return false;
  const { items = [], close = false, complete = false, ...others } = payload as Record<string, unknown>;
  const isKnown = Object.keys(others).length === 0;
  return isKnown && Array.isArray(items) && typeof close === "boolean" && typeof complete === "boolean";
}

/**
 * Does some node of the workflow wait for a signal like this?
 * @throws HitzeroError SIGNAL_UNKNOWN, SIGNAL_NOT_ASSIGNED, SIGNAL_INVALID
 */
export function checkSignal(ir: IR, { name, payload = null, by }: SignalContent): void {
  const named = ir.nodes.filter(({ type, config }) => isSignalled(type) && config.name === name);
  if (named.length === 0) {
    const known = [
      ...new Set(ir.nodes.flatMap(({ type, config }) => (isSignalled(type) ? [config.name] : []))),
    ];
    throw new HitzeroError("SIGNAL_UNKNOWN", `no node of workflow ${ir.name} waits for a signal ${name}`, {
      hint: known.length === 0 ? "The workflow waits for no signals." : `It waits for ${known.join(", ")}.`,
    });
  }
  const open = named.filter(({ config }) => {
    const { assignees = [] } = config as { assignees?: string[] };
    return assignees.length === 0 || (by !== undefined && assignees.includes(by));
  });
  if (open.length === 0) {
    throw new HitzeroError("SIGNAL_NOT_ASSIGNED", `${by ?? "nobody"} may not give the signal ${name}`, {
      hint: `It is up to ${named.flatMap(({ config }) => config.assignees as string[]).join(", ")}: say who you are (--by).`,
    });
  }
  const faults: string[] = [];
  for (const { id, type, config } of open) {
    if (type === "map" && !isMapPayload(payload)) {
      faults.push(
        `map ${id}: it takes {"items": [...], "close": true, "complete": true}, each of them optional`,
      );
      continue;
    }
    if (type === "approval" && (typeof payload !== "object" || Array.isArray(payload))) {
      faults.push(`node ${id}: the answer to an approval is an object`);
      continue;
    }
    if (config.schema === undefined) return;
    const [misfit] = misfitsOf(config.schema as ValueSchema, payload);
    if (misfit === undefined) return;
    faults.push(`node ${id}: ${pathText(misfit.path)}: ${misfit.message} (${misfit.keyword})`);
  }
  if (faults.length > 0) {
    throw new HitzeroError(
      "SIGNAL_INVALID",
      `the payload of signal ${name} does not fit: ${faults.join("; ")}`,
      {
        hint: "The node's schema says what it takes.",
      },
    );
  }
}
