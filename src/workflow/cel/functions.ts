/**
 * What hitzero adds to the CEL library or replaces in it. Numbers of JSON are doubles and numbers written in an expression
 * are ints (`80`) or doubles (`1.5`), so arithmetic between the two works here and gives a double: `data.count + 1`,
 * `data.count / 2` (2.5 for 5: a result must not depend on whether 4.0 happened to be written 4), `data.count % 2`.
 */
import { RE2JS } from "re2js";
import { LIMITS } from "../limits.ts";
import { CelFault } from "./fault.ts";
import { spend } from "./work.ts";

/** The part of the library's Environment that is needed here. */
export interface Registrar {
  registerFunction(
    signature: string,
    handler: (...values: never[]) => unknown,
    options: { async: boolean },
  ): unknown;
  registerOperator(signature: string, handler: (left: never, right: never) => unknown): unknown;
}

/** Functions of the library that are replaced: the call is renamed before the type check. */
export const REPLACED_FUNCTIONS: ReadonlyMap<string, string> = new Map([
  ["matches", "matchesLinear"],
  ["split", "splitBounded"],
  ["join", "joinBounded"],
  ["timestamp", "timestampWithZone"],
]);

type Numeric = number | bigint;

/** Adds operators and functions to an environment. */
export function extend(environment: Registrar): void {
  registerNumbers(environment);
  registerStrings(environment);
  registerTimes(environment);
}

const SYNC = { async: false };

function registerNumbers(environment: Registrar): void {
  for (const [left, right] of [
    ["int", "double"],
    ["double", "int"],
  ]) {
    const operator = (sign: string, compute: (a: number, b: number) => number) =>
      environment.registerOperator(`${left} ${sign} ${right}: double`, (a: Numeric, b: Numeric) =>
        compute(Number(a), Number(b)),
      );
    operator("+", (a, b) => a + b);
    operator("-", (a, b) => a - b);
    operator("*", (a, b) => a * b);
    operator("/", divide);
    operator("%", remainder);
  }
  environment.registerOperator("double % double: double", (a: number, b: number) => remainder(a, b));
  // biome-ignore lint/suspicious/noDoubleEquals: an int equals a double of the same value, exactly.
  environment.registerOperator("int == double: bool", (a: bigint, b: number) => a == (b as unknown));
  environment.registerFunction("int(uint): int", (value: { value: bigint }) => value.value, SYNC);
}

function divide(dividend: number, divisor: number): number {
  if (divisor === 0) throw new CelFault("division by zero");
  return dividend / divisor;
}

function remainder(dividend: number, divisor: number): number {
  if (divisor === 0) throw new CelFault("division by zero");
  if (!Number.isInteger(dividend) || !Number.isInteger(divisor)) throw new CelFault("% needs whole numbers");
  return dividend % divisor;
}

/** A whole number from a parameter that may be an int, or a double because it came from JSON. */
function whole(value: Numeric, what: string): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number)) throw new CelFault(`${what} must be a whole number`);
  return number;
}

function registerStrings(environment: Registrar): void {
  environment.registerFunction("string.matchesLinear(string): bool", matchesPattern, SYNC);
  environment.registerFunction("matchesLinear(string, string): bool", matchesPattern, SYNC);
  environment.registerFunction(
    "string.splitBounded(string): list<string>",
    (text: string, separator: string) => split(text, separator, -1),
    SYNC,
  );
  for (const type of ["int", "double"]) {
    environment.registerFunction(
      `string.splitBounded(string, ${type}): list<string>`,
      (text: string, separator: string, limit: Numeric) => split(text, separator, whole(limit, "the limit")),
      SYNC,
    );
  }
  for (const type of ["list<string>", "list<dyn>"]) {
    environment.registerFunction(`${type}.joinBounded(): string`, (list: unknown[]) => join(list, ""), SYNC);
    environment.registerFunction(`${type}.joinBounded(string): string`, join, SYNC);
  }
  environment.registerFunction(
    "string.substring(double): string",
    (text: string, start: number) => substring(text, start, text.length),
    SYNC,
  );
  for (const types of ["double, double", "int, double", "double, int"]) {
    environment.registerFunction(`string.substring(${types}): string`, substring, SYNC);
  }
}

function substring(text: string, start: Numeric, end: Numeric): string {
  const from = whole(start, "the start");
  const to = whole(end, "the end");
  if (from < 0 || to < from || to > text.length) throw new CelFault("substring is outside of the string");
  return text.substring(from, to);
}

function split(text: string, separator: string, limit: number): string[] {
  if (limit === 0) return [];
  const parts = text.split(separator);
  spend(parts.length);
  if (limit < 0 || parts.length <= limit) return parts;
  return [...parts.slice(0, limit - 1), parts.slice(limit - 1).join(separator)];
}

function join(list: unknown[], separator: string): string {
  let characters = 0;
  for (const item of list) {
    if (typeof item !== "string") throw new CelFault("join() needs a list of strings");
    characters += item.length + separator.length;
  }
  spend(list.length + characters / 8);
  return list.join(separator);
}

/** Compiled patterns: most expressions use one over and over. Bounded; the oldest goes first. */
const patterns = new Map<string, RE2JS>();
const PATTERNS_KEPT = 256;
const PATTERN_COMPILE_WORK = 2_000;

/**
 * Compiles a regular expression for RE2, whose time is linear in the text: no pattern can hang a worker.
 * @throws CelFault when the pattern is no RE2 pattern or too large; the pattern is not repeated in the message.
 */
export function compilePattern(source: string): RE2JS {
  const known = patterns.get(source);
  if (known !== undefined) return known;
  if (source.length > LIMITS.patternLength) {
    throw new CelFault(`the regular expression is longer than ${LIMITS.patternLength} characters`);
  }
  let pattern: RE2JS;
  try {
    pattern = RE2JS.compile(source);
  } catch {
    throw new CelFault(
      "this is not a regular expression of RE2 (which has no look-around and no back-references)",
    );
  }
  if (pattern.programSize() > LIMITS.patternInstructions)
    throw new CelFault("the regular expression is too complex");
  if (patterns.size >= PATTERNS_KEPT) patterns.delete(patterns.keys().next().value as string);
  patterns.set(source, pattern);
  return pattern;
}

/** Does a part of the text match? Its cost is spent. @throws CelFault as `compilePattern` */
export function matchesPattern(text: string, source: string): boolean {
  if (!patterns.has(source)) spend(PATTERN_COMPILE_WORK);
  const pattern = compilePattern(source);
  spend(text.length * (1 + pattern.programSize() / 32));
  return pattern.test(text);
}

const RFC3339 = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:Z|[+-]\d{2}:\d{2})$/;
const FIRST_INSTANT = -62_135_596_800_000;
const LAST_INSTANT = 253_402_300_799_999;
const TIMESTAMP = "google.protobuf.Timestamp";

function registerTimes(environment: Registrar): void {
  environment.registerFunction(
    `timestampWithZone(string): ${TIMESTAMP}`,
    (text: string) => {
      // Without a zone JavaScript would take the machine's, and the answer would depend on the worker.
      if (!RFC3339.test(text)) throw new CelFault('timestamp() needs a form such as "2026-01-31T12:00:00Z"');
      return instant(Date.parse(text));
    },
    SYNC,
  );
  for (const type of ["int", "double"]) {
    environment.registerFunction(
      `timestampWithZone(${type}): ${TIMESTAMP}`,
      (seconds: Numeric) => instant(Number(seconds) * 1000),
      SYNC,
    );
  }
  environment.registerFunction(`timestampWithZone(${TIMESTAMP}): ${TIMESTAMP}`, (time: Date) => time, SYNC);
  environment.registerFunction(
    `int(${TIMESTAMP}): int`,
    (time: Date) => BigInt(Math.floor(time.getTime() / 1000)),
    SYNC,
  );
  environment.registerFunction(`string(${TIMESTAMP}): string`, (time: Date) => time.toISOString(), SYNC);
}

function instant(milliseconds: number): Date {
  if (!(milliseconds >= FIRST_INSTANT && milliseconds <= LAST_INSTANT)) {
    throw new CelFault("timestamp() is outside of the years 1 to 9999");
  }
  return new Date(milliseconds);
}
