/**
 * Moments and lengths of time cross as whole numbers. Their text depends on settings of the session (DateStyle, TimeZone, IntervalStyle,
 * extra_float_digits), which a role or a database may set, and which behind a pooler are not ours to set.
 */
import type { Row } from "./database.ts";

/** SQL of a column that holds moments, as milliseconds since 1970 under the column's own name. `dated` makes dates of them. */
export function momentOf(column: string): string {
  return `floor(extract(epoch from ${column}) * 1000)::bigint as ${column.replace(/^\w+\./, "")}`;
}

/** Makes dates of the milliseconds in these columns. */
export function dated<R extends Row>(rows: readonly R[], ...columns: readonly (keyof R)[]): R[] {
  const dateOf = (value: unknown) => (typeof value === "number" ? new Date(value) : null);
  const datesOf = (row: R) => Object.fromEntries(columns.map((column) => [column, dateOf(row[column])]));
  return rows.map((row) => ({ ...row, ...datesOf(row) }));
}
