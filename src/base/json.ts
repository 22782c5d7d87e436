/**
 * JSON as hitzero stores it: a canonical text for digests, and a strict encoder that refuses what Postgres' `jsonb` cannot
 * hold and what `JSON.stringify` would silently change. Error messages name the place, never the value.
 */
import { types } from "node:util";
import { HitzeroError } from "./errors.ts";

interface EncodeLimits {
  /** Largest text, in bytes of UTF-8. */
  maxBytes: number;
  /** Deepest nesting of lists and objects. */
  maxDepth: number;
  /** What is encoded, for messages: `output of node "a"`. */
  what: string;
}

/** A value that JSON or Postgres cannot hold. */
export class NotJsonError extends HitzeroError {
  /** The culprit's place: `$.items[3].name`. */
  readonly path: string;

  constructor(what: string, path: string, reason: string) {
    super("OUTPUT_NOT_JSON", `${what}: ${path} ${reason}`, {
      hint: "Give plain JSON: strings (of large integers, too), finite numbers, booleans, null, lists and objects.",
    });
    this.path = path;
  }
}

/** Escapes by which JSON.stringify shows a NUL or a lone surrogate; a backslash before the backslash makes it innocent. */
const SUSPECT_ESCAPE = /\\u(?:0000|d[89a-f][0-9a-f]{2})/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: NUL is what is looked for.
const NUL = /\u0000/;
const LONE_SURROGATE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/;
/** Keys that look like list indexes come first in any object; `__proto__` is no ordinary property. */
const UNORDERABLE_KEY = /^(?:\d|__proto__$)/;
const PLAIN_KEY = /^[A-Za-z_$][\w$]*$/;
const MAX_PATH_LENGTH = 200;

/**
 * JSON text with the keys of every object sorted by UTF-16 code units (as RFC 8785), without white space. Equal documents
 * have equal texts, whatever the order of their keys. JSON semantics: `undefined` properties are dropped, `toJSON` is used.
 */
export function canonicalJson(value: unknown): string {
  const found = { unorderable: false };
  const sorted = sortKeys(value, found);
  // Native encoding of a sorted copy is three times faster than building the text here, but JavaScript objects keep some
  // keys in an order of their own.
  return found.unorderable ? canonicalText(value) : (JSON.stringify(sorted) ?? "null");
}

/** A copy whose objects have their keys in order; notes keys that an object does not keep where they are put. */
function sortKeys(value: unknown, found: { unorderable: boolean }): unknown {
  const plain = withToJson(value);
  if (plain === null || typeof plain !== "object") return plain;
  if (Array.isArray(plain)) return plain.map((item) => sortKeys(item, found));
  const object = plain as Record<string, unknown>;
  const copy: Record<string, unknown> = {};
  for (const key of Object.keys(object).sort()) {
    if (UNORDERABLE_KEY.test(key)) found.unorderable = true;
    const item = object[key];
    if (typeof item !== "function") copy[key] = sortKeys(item, found);
  }
  return copy;
}

function canonicalText(value: unknown): string {
  const plain = withToJson(value);
  if (plain === null || typeof plain !== "object") return JSON.stringify(plain) ?? "null";
  return Array.isArray(plain) ? canonicalList(plain) : canonicalObject(plain as Record<string, unknown>);
}

function canonicalList(list: readonly unknown[]): string {
  let text = "[";
  for (let index = 0; index < list.length; index++) {
    text += index === 0 ? canonicalText(list[index]) : `,${canonicalText(list[index])}`;
  }
  return `${text}]`;
}

function canonicalObject(object: Record<string, unknown>): string {
  let text = "{";
  for (const key of Object.keys(object).sort()) {
    const item = object[key];
    if (item === undefined || typeof item === "function" || typeof item === "symbol") continue;
    text += `${text === "{" ? "" : ","}${JSON.stringify(key)}:${canonicalText(item)}`;
  }
  return `${text}}`;
}

/**
 * Encodes a value as JSON text. At the top `undefined` becomes `null`; undefined properties are dropped, as JSON does.
 * @throws NotJsonError (NUL or lone surrogate in a string or key, NaN or Infinity, an integer beyond 2^53, undefined in a list,
 *   bigint, function, symbol, what JSON would turn into `{}`, cycle); HitzeroError OUTPUT_TOO_DEEP, OUTPUT_TOO_LARGE.
 */
export function encodeJson(value: unknown, limits: EncodeLimits): string {
  if (value === undefined) return "null";
  new Walk(value, limits).visit(value, 0);
  const text = JSON.stringify(value) ?? "null";
  if (text.length > limits.maxBytes || Buffer.byteLength(text) > limits.maxBytes) throw tooLarge(limits);
  // What was encoded counts: a getter may give another value each time.
  if (SUSPECT_ESCAPE.test(text)) new StringSearch(limits).visit(JSON.parse(text));
  return text;
}

/**
 * A double holds each integer below this one, which is no longer told from its neighbour. Larger ones stand for an id or count of
 * which digits were lost, unless JSON writes them with an exponent: nobody takes 1e+300 for exact.
 */
const FIRST_LOSSY = Number.MAX_SAFE_INTEGER + 1;
const FIRST_WITH_EXPONENT = 1e21;
const LOSSY = "is an integer beyond 2^53, of which digits may be lost";

function isLossy(value: number): boolean {
  const size = Math.abs(value);
  return size >= FIRST_LOSSY && size < FIRST_WITH_EXPONENT;
}

/** What a double would lose of a number as JSON writes it; undefined: nothing but the last digits of a fraction. */
export function numberFlaw(literal: string, value = Number(literal)): string | undefined {
  if (literal.length < 16 && !/e/i.test(literal)) return undefined;
  if (!Number.isFinite(value)) return "is a number that is too large";
  const isWritten = /^[-+]?\d+$/.test(literal) && Math.abs(value) >= FIRST_LOSSY;
  return isWritten || isLossy(value) ? LOSSY : undefined;
}

/** One pass over the shape of a value. Strings are only measured here: what they hold shows in the encoded text. */
class Walk {
  private readonly path: (string | number)[] = [];
  /** Lower bound of the encoded size; it also bounds the walk over values that share parts. */
  private bytes = 0;

  constructor(
    private readonly root: unknown,
    private readonly limits: EncodeLimits,
  ) {}

  visit(value: unknown, depth: number): void {
    switch (typeof value) {
      case "string":
        this.grow(value.length + 2);
        return;
      case "number":
        if (!Number.isFinite(value)) throw this.refuse(`is ${value}, which JSON cannot hold`);
        if (isLossy(value)) throw this.refuse(LOSSY);
        this.grow(1);
        return;
      case "boolean":
      case "undefined":
        this.grow(1);
        return;
      case "object":
        if (value === null) this.grow(4);
        else this.visitObject(value, depth);
        return;
      default:
        throw this.refuse(`is a ${typeof value}, which JSON cannot hold`);
    }
  }

  private grow(bytes: number): void {
    this.bytes += bytes;
    if (this.bytes > this.limits.maxBytes) throw tooLarge(this.limits);
  }

  private visitObject(value: object, depth: number): void {
    if (depth >= this.limits.maxDepth) throw this.tooDeep();
    const prototype = Object.getPrototypeOf(value) as unknown;
    const isPlain = prototype === Object.prototype || prototype === Array.prototype || prototype === null;
    if (!isPlain) {
      const lost = whatIsLost(value);
      if (lost !== undefined) throw this.refuse(lost);
    }
    const plain = withToJson(value);
    if (plain !== value) {
      if (plain === undefined) throw this.refuse("has a toJSON that gives nothing");
      // Deeper by one, so that a toJSON that answers with yet another one comes to an end.
      this.visit(plain, depth + 1);
      return;
    }
    this.grow(2);
    if (Array.isArray(value)) this.visitList(value, depth);
    else if (isPlain || !types.isBoxedPrimitive(value)) this.visitKeys(value, isPlain, depth);
    else this.visit(value.valueOf(), depth + 1);
  }

  private visitList(list: readonly unknown[], depth: number): void {
    for (let index = 0; index < list.length; index++) {
      this.path.push(index);
      const item = list[index];
      if (item === undefined) throw this.refuse("is undefined, which JSON would turn into null");
      this.visit(item, depth + 1);
      this.path.pop();
    }
  }

  private visitKeys(object: object, isPlain: boolean, depth: number): void {
    const keys = Object.keys(object);
    if (keys.length === 0 && !isPlain && !isPlainElsewhere(object)) throw this.refuse(emptied(object));
    for (const key of keys) {
      const item = (object as Record<string, unknown>)[key];
      if (item === undefined) continue;
      this.grow(key.length + 3);
      this.path.push(key);
      this.visit(item, depth + 1);
      this.path.pop();
    }
  }

  /** A cycle is nothing but endless depth, so it is looked for only when the depth is exceeded. */
  private tooDeep(): HitzeroError {
    const length = lengthToRepetition(this.root, this.path);
    if (length !== undefined) {
      return notJson(this.limits, this.path.slice(0, length), "refers to an object around it (a cycle)");
    }
    const { what, maxDepth } = this.limits;
    return new HitzeroError("OUTPUT_TOO_DEEP", `${what} nests deeper than ${maxDepth} levels`, {
      hint: "Flatten the structure.",
    });
  }

  private refuse(reason: string): NotJsonError {
    return notJson(this.limits, this.path, reason);
  }
}

/** The slow second pass, run only when the encoded text looks suspect: which string holds a NUL or a lone surrogate? */
class StringSearch {
  private readonly path: (string | number)[] = [];

  constructor(private readonly limits: EncodeLimits) {}

  visit(value: unknown): void {
    if (typeof value === "string") this.check(value, "holds");
    if (value === null || typeof value !== "object") return;
    const isList = Array.isArray(value);
    for (const [key, item] of Object.entries(value)) {
      if (!isList) this.check(key, "has a key with");
      this.path.push(isList ? Number(key) : key);
      this.visit(item);
      this.path.pop();
    }
  }

  private check(text: string, verb: string): void {
    if (NUL.test(text))
      throw notJson(this.limits, this.path, `${verb} the character \\u0000, which Postgres cannot store`);
    if (LONE_SURROGATE.test(text)) {
      throw notJson(this.limits, this.path, `${verb} half of a surrogate pair, which is no character`);
    }
  }
}

/** A JSON path such as `$.items[3].name`. */
export function pathText(path: readonly PropertyKey[]): string {
  let text = "$";
  for (const part of path) {
    if (typeof part === "number") text += `[${part}]`;
    else if (typeof part === "string" && PLAIN_KEY.test(part)) text += `.${part}`;
    else text += `[${JSON.stringify(String(part))}]`;
    if (text.length > MAX_PATH_LENGTH) return `${text.slice(0, MAX_PATH_LENGTH)}…`;
  }
  return text;
}

function withToJson(value: unknown): unknown {
  if (value === null || typeof value !== "object") return value;
  const method = (value as { toJSON?: unknown }).toJSON;
  return typeof method === "function" ? method.call(value, "") : value;
}

/** What JSON.stringify would make of an object that is no plain one, if it would not mean the same. */
function whatIsLost(value: object): string | undefined {
  if (types.isDate(value)) return Number.isNaN(value.getTime()) ? "is an invalid Date" : undefined;
  if (types.isPromise(value)) return "is a Promise, which JSON would turn into {}: await it";
  if (types.isMap(value) || types.isSet(value)) {
    return `is a ${nameOf(value)}, which JSON would turn into {}: return a list or an object`;
  }
  if (ArrayBuffer.isView(value) || types.isAnyArrayBuffer(value))
    return `is a ${nameOf(value)}, bytes that JSON cannot hold: return a text, such as their base64`;
  if (types.isNativeError(value) || value instanceof Error)
    return `is an Error (${nameOf(value)}), of which JSON would lose the message: throw it, or return what you need of it`;
  return types.isRegExp(value) ? emptied(value) : undefined;
}

/** A Response, an iterator, an object of a class with nothing but private fields: JSON sees nothing of it. */
function emptied(value: object): string {
  const hint = /^(?:Response|Request)$/.test(nameOf(value))
    ? ": return what it holds, such as await response.json()"
    : "";
  return `is a ${nameOf(value)}, which JSON would turn into {}${hint}`;
}

/** An object literal of another realm (`vm`). */
function isPlainElsewhere(value: object): boolean {
  const prototype = Object.getPrototypeOf(value) as object;
  return Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype, "hasOwnProperty");
}

function nameOf(value: object): string {
  const { [Symbol.toStringTag]: tag, constructor: maker } = value as { [Symbol.toStringTag]?: unknown };
  if (typeof maker === "function" && maker.name !== "" && maker !== Object) return maker.name;
  return typeof tag === "string" && tag !== "" ? tag : "object of a class";
}

/** Length of the shortest beginning of `path` that leads from `root` to an object passed before. */
function lengthToRepetition(root: unknown, path: readonly (string | number)[]): number | undefined {
  const passed = new Set<unknown>([root]);
  let place = root;
  for (const [index, key] of path.entries()) {
    if (place === null || typeof place !== "object") return undefined;
    place = (place as Record<string | number, unknown>)[key];
    if (passed.has(place)) return index + 1;
    if (typeof place === "object") passed.add(place);
  }
  return undefined;
}

function notJson(limits: EncodeLimits, path: readonly PropertyKey[], reason: string): NotJsonError {
  return new NotJsonError(limits.what, pathText(path), reason);
}

function tooLarge(limits: EncodeLimits): HitzeroError {
  return new HitzeroError("OUTPUT_TOO_LARGE", `${limits.what} is larger than ${limits.maxBytes} bytes`, {
    hint: "Store the data elsewhere and hand on a reference to it.",
  });
}
