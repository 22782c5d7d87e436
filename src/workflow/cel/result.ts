/** From the values of CEL to plain JSON. */

import { LIMITS } from "../limits.ts";
import { CelFault } from "./fault.ts";
import { isPlainObject } from "./guard.ts";
import { spend } from "./work.ts";

/** CEL's own types that have a form in JSON, told apart by the library's classes (`cel.ts` hands them in). */
interface CelTypes {
  isDuration(value: object): value is { seconds: bigint; nanos: number };
  isUnsigned(value: object): value is { value: bigint };
}

/**
 * The JSON form of a value: int and uint become numbers, timestamps RFC 3339 text, durations `"1.5s"`, bytes base64, maps
 * objects. Parts that are JSON already are handed on as they are, not copied.
 * @throws CelFault for an integer beyond 2^53, Infinity, NaN, a type, or a result that is too large or too deep.
 */
export function toJson(value: unknown, types: CelTypes): unknown {
  if (typeof value === "boolean" || value === null) return value;
  return new Conversion(types).convert(value, 0);
}

/** Work of looking at one value. */
const CONVERSION_WORK = 0.25;

class Conversion {
  private bytes = 0;

  constructor(private readonly types: CelTypes) {}

  convert(value: unknown, depth: number): unknown {
    spend(CONVERSION_WORK);
    switch (typeof value) {
      case "string":
        this.grow(value.length + 2);
        return value;
      case "bigint":
        return this.integer(value);
      case "number":
        this.grow(1);
        if (!Number.isFinite(value))
          throw new CelFault("the result holds a number that JSON cannot hold (Infinity or NaN)");
        return value;
      case "boolean":
        this.grow(4);
        return value;
      case "object":
        return value === null ? this.nothing() : this.object(value, depth);
      default:
        throw new CelFault("the result holds something that JSON cannot hold");
    }
  }

  private grow(bytes: number): void {
    this.bytes += bytes;
    if (this.bytes > LIMITS.expressionResultBytes) {
      throw new CelFault(`the result is larger than ${LIMITS.expressionResultBytes} bytes`);
    }
  }

  private nothing(): null {
    this.grow(4);
    return null;
  }

  private integer(value: bigint): number {
    this.grow(1);
    const number = Number(value);
    if (!Number.isSafeInteger(number)) {
      throw new CelFault(
        "the result holds an integer beyond 2^53, which JSON numbers cannot hold exactly; use string()",
      );
    }
    return number;
  }

  private object(value: object, depth: number): unknown {
    if (depth >= LIMITS.expressionResultDepth) {
      throw new CelFault(`the result nests deeper than ${LIMITS.expressionResultDepth} levels`);
    }
    this.grow(2);
    if (Array.isArray(value)) return this.list(value, depth);
    if (value instanceof Map) return this.fromEntries([...value.entries()], depth);
    if (isPlainObject(value)) return this.plainObject(value, depth);
    if (value instanceof Date) return value.toISOString();
    if (value instanceof Uint8Array) {
      this.grow(value.length * 1.4);
      return Buffer.from(value).toString("base64");
    }
    if (this.types.isDuration(value)) return durationText(value.seconds, value.nanos);
    if (this.types.isUnsigned(value)) return this.integer(value.value);
    throw new CelFault("the result holds a type or another thing that JSON cannot hold");
  }

  private list(list: unknown[], depth: number): unknown[] {
    let copy: unknown[] | undefined;
    for (let index = 0; index < list.length; index++) {
      const item = list[index];
      const converted = this.convert(item, depth + 1);
      if (converted === item) continue;
      copy ??= [...list];
      copy[index] = converted;
    }
    return copy ?? list;
  }

  private plainObject(object: Record<string, unknown>, depth: number): Record<string, unknown> {
    let changed = false;
    const entries: [string, unknown][] = [];
    for (const key of Object.keys(object)) {
      this.grow(key.length + 3);
      const converted = this.convert(object[key], depth + 1);
      changed ||= converted !== object[key];
      entries.push([key, converted]);
    }
    return changed ? Object.fromEntries(entries) : object;
  }

  private fromEntries(entries: [unknown, unknown][], depth: number): Record<string, unknown> {
    return Object.fromEntries(
      entries.map(([key, item]) => {
        this.grow(String(key).length + 3);
        return [String(key), this.convert(item, depth + 1)];
      }),
    );
  }
}

/** Protobuf's JSON form: seconds with a fraction of up to nine digits. */
function durationText(seconds: bigint, nanos: number): string {
  const total = seconds * 1_000_000_000n + BigInt(nanos);
  const size = total < 0n ? -total : total;
  const fraction = String(size % 1_000_000_000n)
    .padStart(9, "0")
    .replace(/0+$/, "");
  return `${total < 0n ? "-" : ""}${size / 1_000_000_000n}${fraction === "" ? "" : `.${fraction}`}s`;
}
