/** Durations, counts and statuses as people read them. */
import Table from "cli-table3";
import type { NodeStatus, RunStatus } from "../../token/lifecycle.ts";
import { DEFAULTS } from "../../workflow/file/defaults.ts";
import type { QueuedFunction } from "../../workflow/ir/function_of.ts";
import type { Colors } from "./terminal.ts";

/** `84 ms`, `1.25 s`, `3 min 20 s`, `2 h 5 min`. */
export function duration(ms: number): string {
  if (ms < 1_000) return `${ms < 10 && !Number.isInteger(ms) ? ms.toFixed(1) : Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(ms < 10_000 ? 2 : 1)} s`;
  const seconds = Math.round(ms / 1_000);
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3_600)} h ${Math.floor((seconds % 3_600) / 60)} min`;
}

/** `1 run`, `3 runs`; nouns with another plural give it. */
export function plural(count: number, noun: string, many = `${noun}s`): string {
  return `${count} ${count === 1 ? noun : many}`;
}

/** A function as messages name it: with its queue, unless that is the usual one. */
export function functionText({ queue, functionName }: QueuedFunction): string {
  return queue === DEFAULTS.queue ? functionName : `${functionName} (queue ${queue})`;
}

const ICONS: Record<NodeStatus, string> = {
  PENDING: "⏸",
  RUNNING: "🔄",
  WAITING: "⏸",
  RETRYING: "🔄",
  COMPLETED: "✅",
  FAILED: "❌",
  SKIPPED: "⏭",
  CANCELLED: "🚫",
};

/** A sign for a status; all take three columns. Those of one column on most terminals are filled up. */
export function icon(status: NodeStatus): string {
  const sign = ICONS[status];
  return sign === "⏸" || sign === "⏭" ? `${sign}  ` : `${sign} `;
}

export function coloured(status: NodeStatus | RunStatus, colors: Colors, text: string = status): string {
  switch (status) {
    case "COMPLETED":
      return colors.green(text);
    case "FAILED":
      return colors.red(text);
    case "RUNNING":
    case "RETRYING":
      return colors.cyan(text);
    case "WAITING":
      return colors.magenta(text);
    case "CANCELLED":
    case "PAUSED":
      return colors.yellow(text);
    default:
      return colors.dim(text);
  }
}

/** `97 COMPLETED, 3 FAILED`, without the statuses that nothing has. */
export function counts(byStatus: Readonly<Record<string, number>>): string {
  const present = Object.entries(byStatus).filter(([, count]) => count > 0);
  return present.map(([status, count]) => `${count} ${status}`).join(", ") || "none";
}

/** A table without frames; numbers to the right. */
export function table(head: readonly string[], rows: readonly (readonly string[])[], colors: Colors): string {
  const none = { top: "", "top-mid": "", "top-left": "", "top-right": "", bottom: "", "bottom-mid": "" };
  const more = { "bottom-left": "", "bottom-right": "", left: "", "left-mid": "", mid: "", "mid-mid": "" };
  const drawn = new Table({
    head: head.map((title) => colors.dim(title)),
    chars: { ...none, ...more, right: "", "right-mid": "", middle: "  " },
    style: { head: [], border: [], "padding-left": 0, "padding-right": 0 },
  });
  for (const row of rows) drawn.push([...row]);
  return drawn
    .toString()
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n");
}

/** A date and time in the user's zone, without fractions: `2026-11-21 15:04:05`. */
export function moment(date: Date): string {
  const two = (value: number) => String(value).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** One line of JSON, cut to `width` characters. */
export function brief(value: unknown, width = 100): string {
  const text = JSON.stringify(value) ?? "null";
  return text.length > width ? `${text.slice(0, width - 1)}…` : text;
}
