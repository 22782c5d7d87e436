/** `compile --explain` for people. */

import type { CancelRegion, ExplainedBody, Explanation } from "../../workflow/compile/explain.ts";
import type { TriggerRule } from "../../workflow/ir/ir.ts";
import { plural } from "../shell/format.ts";
import type { Colors } from "../shell/terminal.ts";

const LINES_SHOWN = 40;
const IDS_SHOWN = 8;

/** Ids in one line, the first few of many. */
export function listed(ids: readonly string[]): string {
  const rest = ids.length - IDS_SHOWN;
  return ids.slice(0, IDS_SHOWN).join(", ") + (rest > 0 ? ` and ${rest} more` : "");
}

/** Lines of text; parts that a workflow does not have are left out. The warnings are not among them. */
export function explanationLines(explanation: Explanation, colors: Colors): string[] {
  const { levels, terminals, bodies, joins, cancel_regions, compensations, semaphores, guards } = explanation;
  const sections: [string, string[]][] = [
    ["levels (nodes of one may run at once)", levels.map((ids, level) => `${level}  ${listed(ids)}`)],
    ["bodies", bodies.flatMap((body) => bodyLines(body, ""))],
    [
      "joins",
      joins.map(({ node, rule, fan_in, early }) => {
        return `${node}  ${ruleText(rule)} of ${plural(fan_in, "edge")}${early ? ", may run early" : ""}`;
      }),
    ],
    ["ends", [listed(terminals)]],
    ["cancel regions", cancel_regions.map((region) => regionLine(region))],
    ["compensations", compensations.map(({ node, function_name }) => `${node}  undone by ${function_name}`)],
    [
      "semaphores",
      semaphores.map(({ name, permits, held_by }) => {
        return `${name}  ${plural(permits, "permit")}, held by ${listed(held_by) || "nothing"}`;
      }),
    ],
    ["guards", guards.map(({ node, unless }) => `${node}  skipped once ${listed(unless)} completed`)],
  ];
  return sections.flatMap(([title, lines]) => {
    if (lines.length === 0) return [];
    // An expression may hold line breaks, or what would steer the terminal.
    const printable = shortened(lines).map((line) => `  ${line.replace(/\p{Cc}/gu, " ")}`);
    return ["", colors.bold(title), ...printable];
  });
}

function shortened(lines: readonly string[]): string[] {
  const rest = lines.length - LINES_SHOWN;
  return rest > 0 ? [...lines.slice(0, LINES_SHOWN), `… and ${rest} more (--json shows all)`] : [...lines];
}

function bodyLines(body: ExplainedBody, indent: string): string[] {
  const { kind, node, entries, terminals, nodes, loop, map } = body;
  const span = `${listed(entries)} → ${listed(terminals)}`;
  const facts =
    loop === undefined
      ? [
          `for each of ${map?.items}`,
          `${map?.max_concurrency} at once`,
          ...(map?.tolerated_failures ? [`${map.tolerated_failures} may fail`] : []),
          ...(map?.complete_when ? [`until ${map.complete_when}`] : []),
        ]
      : [
          loop.condition === null ? "always once more" : `again while ${loop.condition}`,
          loop.max_iterations === null ? "no limit" : `at most ${plural(loop.max_iterations, "time")}`,
          ...(loop.break === null ? [] : [`then ${loop.break.join(", ")}`]),
          loop.timeout === null ? "else it fails" : `else ${loop.timeout.join(", ")}`,
        ];
  return [
    `${indent}${kind} ${node}  ${span}: ${facts.join(", ")}`,
    ...(nodes.length > 0 ? [`${indent}  ${plural(nodes.length, "node")}: ${listed(nodes)}`] : []),
    ...body.bodies.flatMap((inner) => bodyLines(inner, `${indent}  `)),
  ];
}

function ruleText(rule: TriggerRule): string {
  return typeof rule === "string" ? rule : `quorum ${rule.quorum}`;
}

const MOMENTS: Record<CancelRegion["when"], string> = {
  done: "once it completed",
  fire: "as soon as it fires",
  event: "when its event arrives",
};

function regionLine({ node, when, withdraws }: CancelRegion): string {
  return `${node}  ${MOMENTS[when]}: ${listed(withdraws)}`;
}
