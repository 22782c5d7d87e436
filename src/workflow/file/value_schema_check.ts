/**
 * Is a JSON Schema in a workflow one? Its keywords have the forms of the meta-schema (draft 2020-12), its patterns compile, its
 * references lead somewhere inside it, and none leads back to itself before it has looked at a part of the value.
 */
import { pathText } from "../../base/json.ts";
import { compilePattern } from "../cel/functions.ts";
import { didYouMean, type Faults, quote, slipOf } from "../faults.ts";
import { kindOf } from "./schema_faults.ts";
import { resolveReference, type ValueSchema } from "./value_schema.ts";

const TYPES = ["string", "number", "integer", "boolean", "object", "array", "null"];

type Form =
  | "schema"
  | "schemas"
  | "schema map"
  | "dependencies"
  | "types"
  | "count"
  | "number"
  | "positive"
  | "boolean"
  | "text"
  | "pattern"
  | "names"
  | "names map"
  | "values"
  | "reference"
  | "any";

/** By keyword: the form of its value, and whether it applies to the same value as the schema around it. */
const KEYWORDS: Readonly<Record<string, readonly [Form, "same"?]>> = {
  $ref: ["reference", "same"],
  $defs: ["schema map"],
  definitions: ["schema map"],
  $anchor: ["text"],
  $comment: ["text"],
  $id: ["text"],
  $schema: ["text"],
  title: ["text"],
  description: ["text"],
  default: ["any"],
  examples: ["any"],
  deprecated: ["boolean"],
  readOnly: ["boolean"],
  writeOnly: ["boolean"],
  format: ["text"],
  contentEncoding: ["text"],
  contentMediaType: ["text"],
  contentSchema: ["schema"],
  type: ["types"],
  enum: ["values"],
  const: ["any"],
  allOf: ["schemas", "same"],
  anyOf: ["schemas", "same"],
  oneOf: ["schemas", "same"],
  not: ["schema", "same"],
  if: ["schema", "same"],
  // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema.
  then: ["schema", "same"],
  else: ["schema", "same"],
  multipleOf: ["positive"],
  minimum: ["number"],
  maximum: ["number"],
  exclusiveMinimum: ["number"],
  exclusiveMaximum: ["number"],
  minLength: ["count"],
  maxLength: ["count"],
  pattern: ["pattern"],
  prefixItems: ["schemas"],
  items: ["schema"],
  contains: ["schema"],
  minContains: ["count"],
  maxContains: ["count"],
  minItems: ["count"],
  maxItems: ["count"],
  uniqueItems: ["boolean"],
  unevaluatedItems: ["schema"],
  properties: ["schema map"],
  patternProperties: ["schema map"],
  additionalProperties: ["schema"],
  propertyNames: ["schema"],
  minProperties: ["count"],
  maxProperties: ["count"],
  required: ["names"],
  dependentRequired: ["names map"],
  dependentSchemas: ["schema map", "same"],
  dependencies: ["dependencies", "same"],
  unevaluatedProperties: ["schema"],
};

/** What draft 2020-12 has, and this does not evaluate. */
const REFUSED = ["$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor", "$vocabulary"];

/** Schemas that apply to one value through each other; evaluation recurses. */
const MAX_NESTING = 200;

const HINT = "See https://json-schema.org/understanding-json-schema (draft 2020-12).";

/** Adds SCHEMA_INVALID for each fault of the schema at `path`, and IGNORED_PROPERTY for what looks like a slip. */
export function checkValueSchema(
  schema: unknown,
  path: string,
  { faults, warnings }: { faults: Faults; warnings: Faults },
): void {
  const check = new SchemaCheck(schema as ValueSchema, path, faults, warnings);
  check.schema(schema, []);
  check.references();
}

type Path = readonly PropertyKey[];

class SchemaCheck {
  /** By schema: those that it applies to the same value, and their places. */
  private readonly applies = new Map<object, { schema: object; path: Path }[]>();
  /** What references lead to. */
  private readonly targets: { target: object; path: Path }[] = [];

  constructor(
    private readonly root: ValueSchema,
    /** JSON path of the schema. */
    private readonly base: string,
    private readonly faults: Faults,
    private readonly warnings: Faults,
  ) {}

  schema(schema: unknown, path: Path): void {
    if (typeof schema === "boolean") return;
    if (!isObject(schema)) {
      this.fault(path, `a schema is an object, true or false, not ${kindOf(schema)}`);
      return;
    }
    const same: { schema: object; path: Path }[] = [];
    this.applies.set(schema, same);
    for (const [keyword, value] of Object.entries(schema)) {
      const at = [...path, keyword];
      const [form, isSame] = KEYWORDS[keyword] ?? [];
      if (REFUSED.includes(keyword)) this.fault(at, `${keyword} is not supported`);
      else if (form === undefined) this.unknown(keyword, at);
      else {
        this.value(form, value, at, keyword);
        if (isSame) for (const inner of this.partsOf(value)) same.push({ schema: inner, path: at });
      }
    }
  }

  /** They lead to schemas, and not without end back to themselves. */
  references(): void {
    for (const { target, path } of this.targets)
      if (!this.applies.has(target))
        this.fault(path, "$ref leads to something that does not stand as a schema");
    const done = new Set<object>();
    const open = new Set<object>();
    const visit = (schema: object, path: Path): void => {
      if (done.has(schema)) return;
      if (open.size > MAX_NESTING) {
        this.fault(path, `more than ${MAX_NESTING} schemas apply to one value, one through another`);
        return;
      }
      if (open.has(schema)) {
        this.fault(
          path,
          "this leads back to the schema around it before any part of the value was looked at",
        );
        return;
      }
      open.add(schema);
      for (const inner of this.applies.get(schema) ?? []) visit(inner.schema, inner.path);
      open.delete(schema);
      done.add(schema);
    };
    for (const schema of this.applies.keys()) visit(schema, []);
  }

  private partsOf(value: unknown): object[] {
    const target = typeof value === "string" ? resolveReference(this.root, value) : undefined;
    if (target !== undefined) return isObject(target) ? [target] : [];
    if (Array.isArray(value)) return value.filter(isObject);
    if (!isObject(value)) return [];
    // The schema itself, or a map of schemas.
    return this.applies.has(value) ? [value] : Object.values(value).filter(isObject);
  }

  private unknown(keyword: string, at: Path): void {
    const meant = slipOf(keyword, Object.keys(KEYWORDS));
    if (meant === undefined) return;
    const message = `JSON Schema has no keyword ${quote(keyword)}, and ignores it`;
    this.warnings.add("IGNORED_PROPERTY", this.placeOf(at), message, `Did you mean ${quote(meant)}?`);
  }

  private value(form: Form, value: unknown, at: Path, keyword: string): void {
    const isList = Array.isArray(value);
    const isMap = isObject(value);
    const wanted = (is: boolean, what: string) => {
      if (!is) this.fault(at, `${keyword} must be ${what}`);
    };
    const names = (list: unknown) => Array.isArray(list) && list.every((name) => typeof name === "string");
    switch (form) {
      case "schema":
        this.schema(value, at);
        return;
      case "schemas":
        wanted(isList && value.length > 0, "a list of schemas that is not empty");
        if (isList) for (const [index, inner] of value.entries()) this.schema(inner, [...at, index]);
        return;
      case "schema map":
      case "dependencies":
        wanted(isMap, "an object of schemas");
        for (const [name, inner] of Object.entries(isMap ? value : {})) {
          if (keyword === "patternProperties") this.pattern(name, [...at, name]);
          if (form === "dependencies" && Array.isArray(inner))
            wanted(names(inner), "an object of schemas, or of names");
          else this.schema(inner, [...at, name]);
        }
        return;
      case "types":
        this.types(value, at);
        return;
      case "count":
        wanted(Number.isSafeInteger(value) && (value as number) >= 0, "a whole number, 0 or more");
        return;
      case "number":
        wanted(typeof value === "number", "a number");
        return;
      case "positive":
        wanted(typeof value === "number" && value > 0, "a number above 0");
        return;
      case "boolean":
        wanted(typeof value === "boolean", "true or false");
        return;
      case "text":
        wanted(typeof value === "string", "a text");
        return;
      case "pattern":
        wanted(typeof value === "string", "a regular expression, as text");
        if (typeof value === "string") this.pattern(value, at);
        return;
      case "names":
        wanted(names(value), "a list of texts");
        return;
      case "names map":
        wanted(isMap && Object.values(value).every(names), "an object of lists of texts");
        return;
      case "values":
        wanted(isList && value.length > 0, "a list of values that is not empty");
        return;
      case "reference":
        this.reference(value, at);
        return;
      default:
    }
  }

  private types(value: unknown, at: Path): void {
    const types = Array.isArray(value) ? value : [value];
    if (types.length === 0) this.fault(at, "type must name a type");
    for (const type of types) {
      if (TYPES.includes(type as string)) continue;
      const message = `there is no type ${quote(String(type))} in JSON Schema`;
      this.fault(at, message, didYouMean(String(type), TYPES, `Types: ${TYPES.join(", ")}.`));
    }
  }

  private pattern(source: string, at: Path): void {
    try {
      compilePattern(source);
    } catch (error) {
      this.fault(at, (error as Error).message, "See https://github.com/google/re2/wiki/Syntax.");
    }
  }

  private reference(value: unknown, at: Path): void {
    if (typeof value !== "string") this.fault(at, "$ref must be a text");
    else if (!value.startsWith("#"))
      this.fault(
        at,
        `$ref leads outside: ${quote(value)}`,
        'Copy the schema to $defs, and write "#/$defs/NAME".',
      );
    else {
      const target = resolveReference(this.root, value);
      if (isObject(target)) this.targets.push({ target, path: at });
      else if (target === undefined)
        this.fault(
          at,
          `$ref leads nowhere: ${quote(value)}`,
          'Write "#/$defs/NAME", and define NAME in $defs.',
        );
    }
  }

  private fault(path: Path, message: string, hint = HINT): void {
    this.faults.add("SCHEMA_INVALID", this.placeOf(path), message, hint);
  }

  private placeOf(path: Path): string {
    return `${this.base}${pathText(path).slice(1)}`;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
