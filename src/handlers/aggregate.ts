/** The `aggregate` node: totals of a field, or lists and objects brought together. */
import { HitzeroError } from "../base/errors.ts";
import { canonicalJson } from "../base/json.ts";
import { fieldsThere } from "../workflow/cel/guard.ts";
import type { Execution } from "./types.ts";

/** What is brought together: the items of a list, or the predecessors' outputs in the order of their edges in the file, lists opened one level. */
function valuesOf({ data, sources, ir, isJoin }: Execution): unknown[] {
  if (Array.isArray(data)) return data;
  if (!isJoin) return data === null ? [] : [data];
  const byId = data as Record<string, unknown>;
  return sources.flatMap((source) => byId[ir.nodes[source]?.id as string]);
}

function fieldOf(item: unknown, path: string | undefined): unknown {
  if (path === undefined) return item;
  let value = item;
  for (const name of path.split(".")) {
    value =
      typeof value === "object" && value !== null && Object.hasOwn(value, name)
        ? (value as Record<string, unknown>)[name]
        : undefined;
  }
  return value;
}

function fieldsOf(item: unknown): string {
  return typeof item === "object" && item !== null ? `; ${fieldsThere(Object.keys(item))}` : "";
}

function numbersOf(values: readonly unknown[], field: string | undefined): number[] {
  return values.map((item, position) => {
    const value = fieldOf(item, field);
    if (typeof value === "number") return value;
    throw new HitzeroError(
      "AGGREGATE_NOT_A_NUMBER",
      `item ${position} has no number${field === undefined ? "" : ` in field ${field}${fieldsOf(item)}`}`,
      {
        hint: "Name the numeric field in config.field, or filter the items first.",
      },
    );
  });
}

const OPERATIONS: Record<string, (numbers: number[]) => number | null> = {
  sum: (numbers) => numbers.reduce((total, number) => total + number, 0),
  avg: (numbers) =>
    numbers.length === 0 ? null : numbers.reduce((total, number) => total + number, 0) / numbers.length,
  min: (numbers) =>
    numbers.length === 0 ? null : numbers.reduce((least, number) => Math.min(least, number)),
  max: (numbers) => (numbers.length === 0 ? null : numbers.reduce((most, number) => Math.max(most, number))),
};

function merge(values: readonly unknown[]): Record<string, unknown> {
  const merged: Record<string, unknown> = {};
  values.forEach((value, position) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new HitzeroError("AGGREGATE_NOT_AN_OBJECT", `item ${position} is not an object`, {
        hint: "strategy merge brings objects together; use union or concat for other values.",
      });
    }
    for (const [key, entry] of Object.entries(value)) {
      Object.defineProperty(merged, key, {
        value: entry,
        enumerable: true,
        configurable: true,
        writable: true,
      });
    }
  });
  return merged;
}

/** Distinct values, in the order in which they are first seen. */
function union(values: readonly unknown[]): unknown[] {
  const seen = new Map<string, unknown>();
  for (const value of values) {
    const key = canonicalJson(value);
    if (!seen.has(key)) seen.set(key, value);
  }
  return [...seen.values()];
}

/** The output that came; of several, that of the edge which comes first in the file. Whole: lists are not opened. */
function firstOf({ data, sources, ir, isJoin }: Execution): unknown {
  if (!isJoin) return data;
  const [first] = sources;
  return first === undefined ? null : (data as Record<string, unknown>)[ir.nodes[first]?.id as string];
}

/** Performs an `aggregate` node. */
export function aggregate(execution: Execution): unknown {
  const { operation, field, strategy } = execution.node.config as {
    operation?: string;
    field?: string;
    strategy?: string;
  };
  if (strategy === "coalesce") return firstOf(execution);
  const values = valuesOf(execution);
  if (operation === "count") return values.length;
  if (operation !== undefined) return OPERATIONS[operation]?.(numbersOf(values, field));
  if (strategy === "merge") return merge(values);
  return strategy === "union" ? union(values) : values;
}
