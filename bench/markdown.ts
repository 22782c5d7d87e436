/** Tables of Markdown, and numbers within them. */
import { shown } from "./report.ts";
import type { Spread } from "./statistics.ts";

/** A row for each line, below the head. The first column is text, the others are numbers. */
export function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  const rule = head.map((_, index) => (index === 0 ? "---" : "---:"));
  return [line(head), line(rule), ...rows.map(line)].join("\n");
}

/** Median, and least and most in brackets. */
export function shownSpread({ min, median, max }: Spread): string {
  return `${shown(median)} (${shown(min)}–${shown(max)})`;
}
