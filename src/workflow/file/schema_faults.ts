/** From zod's issues to faults: code, JSON path, a sentence, and a hint taken from the schema's own descriptions. */
import { z } from "zod";
import type { Fault } from "../../base/errors.ts";
import { pathText } from "../../base/json.ts";
import { didYouMean, type Faults, quote } from "../faults.ts";

/**
 * Parses `value` and reports its faults.
 * @returns the parsed value with defaults filled in, or undefined if it has faults.
 */
export function parseWith<T extends z.ZodType>(
  schema: T,
  value: unknown,
  basePath: readonly PropertyKey[],
  faults: Faults,
): z.output<T> | undefined {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  for (const issue of result.error.issues) {
    const place = schemaAt(schema, issue.path);
    const path = [...basePath, ...issue.path];
    if (issue.code === "unrecognized_keys") {
      reportUnknownProperties(issue.keys, place, path, faults);
      continue;
    }
    const { code, message, hint } = explain(issue, place, valueAt(value, issue.path));
    faults.add(code, pathText(path), message, hint);
  }
  return undefined;
}

type Explanation = Omit<Fault, "path">;

function explain(issue: z.core.$ZodIssue, place: z.ZodType | undefined, value: unknown): Explanation {
  const name = quote(String(issue.path.at(-1) ?? "the document"));
  const hint = place?.description ?? "See the workflow file's JSON Schema (schema/workflow.schema.json).";
  if (value === undefined && (issue.code === "invalid_type" || issue.code === "invalid_value")) {
    return { code: "MISSING_PROPERTY", message: `${name} is missing`, hint };
  }
  switch (issue.code) {
    case "invalid_type": {
      const message = `${name} must be ${article(issue.expected)}, not ${article(kindOf(value))}`;
      return { code: "WRONG_TYPE", message, hint };
    }
    case "too_big":
      if (issue.origin === "string" || issue.origin === "array") return tooLong(name, issue);
      break;
    case "invalid_format":
      if (issue.path.at(-1) === "id") return invalidId(String(value));
      break;
    case "custom":
      if (issue.params?.code === "RESERVED_ID") return reservedId(String(value));
      break;
    default:
  }
  return { code: "INVALID_VALUE", message: `${name}: ${issue.message}`, hint };
}

function tooLong(name: string, issue: z.core.$ZodIssueTooBig): Explanation {
  const unit = issue.origin === "string" ? "characters" : "items";
  const message = `${name} has more than ${issue.maximum} ${unit}`;
  return { code: "LIMIT_EXCEEDED", message, hint: "This limit is fixed; shorten it." };
}

function invalidId(id: string): Explanation {
  const message = `the id ${quote(id)} has characters other than letters, digits, _ and -`;
  return { code: "INVALID_ID", message, hint: 'Ids match ^[a-zA-Z0-9_-]+$, as in "fetch_orders".' };
}

function reservedId(id: string): Explanation {
  return { code: "RESERVED_ID", message: `the id ${quote(id)} is reserved`, hint: "Choose another id." };
}

function reportUnknownProperties(
  keys: readonly string[],
  place: z.ZodType | undefined,
  path: readonly PropertyKey[],
  faults: Faults,
): void {
  const known = place === undefined ? [] : propertiesOf(place);
  for (const key of keys) {
    const fallback = known.length === 0 ? "Remove it." : `Known here: ${known.join(", ")}.`;
    const message = `the property ${quote(key)} is not known here`;
    faults.add("UNKNOWN_PROPERTY", pathText([...path, key]), message, didYouMean(key, known, fallback));
  }
}

/** The schema of the value at a path, as far as objects, lists and their wrappers lead. */
function schemaAt(schema: z.ZodType, path: readonly PropertyKey[]): z.ZodType | undefined {
  let place: z.ZodType | undefined = schema;
  for (const part of path) {
    const inner: z.ZodType | undefined = place === undefined ? undefined : unwrap(place);
    if (inner instanceof z.ZodObject) place = inner.shape[String(part)] as z.ZodType | undefined;
    else if (inner instanceof z.ZodArray) place = inner.element as z.ZodType;
    else return undefined;
  }
  if (place === undefined) return undefined;
  const inner = unwrap(place);
  // An object is wanted for its keys, anything else for its description, which stands on the wrapper.
  return inner instanceof z.ZodObject ? inner : place;
}

/** Names of the properties that an object's schema knows. */
export function propertiesOf(schema: z.ZodType): string[] {
  const inner = unwrap(schema);
  return inner instanceof z.ZodObject ? Object.keys(inner.shape) : [];
}

function unwrap(schema: z.ZodType): z.ZodType {
  let inner = schema;
  while (inner instanceof z.ZodOptional || inner instanceof z.ZodDefault || inner instanceof z.ZodPrefault) {
    inner = inner.unwrap() as z.ZodType;
  }
  return inner;
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  let place = value;
  for (const part of path) {
    if (place === null || typeof place !== "object") return undefined;
    place = (place as Record<PropertyKey, unknown>)[part];
  }
  return place;
}

/** The kind of a JSON value, in JSON's own words. */
export function kindOf(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}

const WORDS: Readonly<Record<string, string>> = {
  array: "a list",
  object: "an object",
  record: "an object",
  int: "a whole number",
};

function article(kind: string): string {
  return WORDS[kind] ?? (kind === "null" || kind === "undefined" ? kind : `a ${kind}`);
}
