/** Values that other people's code made. Reading one may throw (getters, revoked proxies); nothing here does. */
import { inspect } from "node:util";

const LONGEST_DESCRIPTION = 500;

/** A property, or undefined where it cannot be read. */
export function read(value: unknown, key: string): unknown {
  if (value === null || value === undefined) return undefined;
  try {
    return (value as Record<string, unknown>)[key];
  } catch {
    return undefined;
  }
}

/** Is it an instance of this class? Asking a revoked proxy throws. */
export function isOf<T>(value: unknown, type: abstract new (...parameters: never[]) => T): value is T {
  try {
    return value instanceof type;
  } catch {
    return false;
  }
}

/** The first items of a list; of anything else none. */
export function firstItems(value: unknown, most: number): unknown[] {
  try {
    return Array.isArray(value) ? Array.from(value.slice(0, most)) : [];
  } catch {
    return [];
  }
}

/** A value in few words. A text is itself; of an object only the first level is shown, as what lies deeper may be large or secret. */
export function describe(value: unknown): string {
  if (typeof value === "string") return value;
  try {
    const text = inspect(value, {
      depth: 0,
      customInspect: false,
      compact: true,
      breakLength: Number.POSITIVE_INFINITY,
      maxArrayLength: 10,
      maxStringLength: 200,
    });
    return text.length > LONGEST_DESCRIPTION ? `${text.slice(0, LONGEST_DESCRIPTION)}…` : text;
  } catch {
    return "a value that cannot be shown";
  }
}
