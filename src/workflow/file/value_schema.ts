/**
 * JSON Schema (draft 2020-12) for values that a workflow takes: a run's input, a signal's payload. Evaluated here rather than by
 * a library, as the work is bounded and counted (a schema of 1 KB may ask for 2^100 steps), and patterns are RE2's, which are
 * linear in the text. Schemas have been checked by `value_schema_check.ts`. `format` is asserted for the formats below.
 */
import { canonicalJson } from "../../base/json.ts";
import { CelFault } from "../cel/fault.ts";
import { matchesPattern } from "../cel/functions.ts";
import { spend, spendDeep, textWork, WorkBudget } from "../cel/work.ts";

export type ValueSchema = boolean | { readonly [keyword: string]: unknown };

/** Where a value does not fit its schema. */
export interface Misfit {
  /** Place in the value. */
  path: readonly PropertyKey[];
  /** Place in the schema: `#/properties/n/type`. */
  keyword: string;
  message: string;
}

const MAX_MISFITS = 20;
const MAX_DEPTH = 1_000;
/** Work of applying one schema to one value, in units of expressions: it costs as much as this many nodes of one. */
const APPLICATION_WORK = 8;

/** What keeps a value from fitting; none if it fits. At most 20 are given. */
export function misfitsOf(schema: ValueSchema, value: unknown): Misfit[] {
  const evaluation = new Evaluation(schema);
  const misfits: Misfit[] = [];
  try {
    new WorkBudget().use(() => evaluation.fits({ schema, at: "#", depth: 0 }, { value, path: [] }, misfits));
  } catch (error) {
    if (!(error instanceof CelFault || error instanceof RangeError)) throw error;
    const message = "the schema asks for more work on this value than one check may do";
    return [{ path: [], keyword: "#", message }];
  }
  return misfits;
}

/** Resolves a reference within a schema: `#`, a pointer `#/$defs/a`, or the name of an anchor `#a`. */
export function resolveReference(root: ValueSchema, reference: string): ValueSchema | undefined {
  if (reference === "#") return root;
  if (!reference.startsWith("#/")) return anchorsOf(root).get(reference);
  let place: unknown = root;
  for (const part of reference.slice(2).split("/")) {
    const name = decoded(part);
    if (typeof place !== "object" || place === null || name === undefined || !Object.hasOwn(place, name))
      return undefined;
    place = (place as Record<string, unknown>)[name];
  }
  return typeof place === "boolean" || isObject(place) ? place : undefined;
}

function decoded(part: string): string | undefined {
  try {
    return decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~");
  } catch {
    return undefined;
  }
}

const anchors = new WeakMap<object, Map<string, ValueSchema>>();

function anchorsOf(root: ValueSchema): Map<string, ValueSchema> {
  if (typeof root === "boolean") return new Map();
  let known = anchors.get(root);
  if (known !== undefined) return known;
  known = new Map();
  anchors.set(root, known);
  const waiting: unknown[] = [root];
  for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
    if (typeof at !== "object" || at === null) continue;
    if (isObject(at) && typeof at.$anchor === "string") known.set(`#${at.$anchor}`, at);
    for (const inner of Object.values(at)) if (typeof inner === "object") waiting.push(inner);
  }
  return known;
}

interface At {
  schema: ValueSchema;
  /** Its place. */
  at: string;
  depth: number;
}

interface Of {
  value: unknown;
  path: readonly PropertyKey[];
}

/** Properties and items that some keyword has looked at, for `unevaluatedProperties` and `unevaluatedItems`. */
class Seen {
  readonly names = new Set<string>();
  readonly indexes = new Set<number>();

  add(other: Seen): void {
    for (const name of other.names) this.names.add(name);
    for (const index of other.indexes) this.indexes.add(index);
  }
}

class Evaluation {
  private readonly targets = new Map<string, ValueSchema>();

  constructor(private readonly root: ValueSchema) {}

  private targetOf(reference: string): ValueSchema {
    let target = this.targets.get(reference);
    if (target === undefined) {
      target = resolveReference(this.root, reference) ?? false;
      this.targets.set(reference, target);
    }
    return target;
  }

  fits({ schema, at, depth }: At, of: Of, misfits: Misfit[], outer = new Seen()): boolean {
    spend(APPLICATION_WORK);
    if (depth > MAX_DEPTH) throw new CelFault("nested too deep");
    if (schema === true) return true;
    const report = (keyword: string, message: string) => {
      if (misfits.length < MAX_MISFITS) misfits.push({ path: of.path, keyword: `${at}/${keyword}`, message });
    };
    if (schema === false) {
      if (misfits.length < MAX_MISFITS)
        misfits.push({ path: of.path, keyword: at, message: "nothing is allowed here" });
      return false;
    }
    const seen = new Seen();
    const place: Place = { schema, at, depth, of, misfits, report, seen };
    let isFit = this.applies(place);
    isFit = checkAny(place) && isFit;
    const { value } = of;
    if (typeof value === "string") isFit = checkString(place, value) && isFit;
    else if (typeof value === "number") isFit = checkNumber(place, value) && isFit;
    else if (Array.isArray(value)) isFit = this.checkList(place, value) && isFit;
    else if (isObject(value)) isFit = this.checkObject(place, value) && isFit;
    if (isFit) outer.add(seen);
    return isFit;
  }

  private inner(
    { at, depth, of, misfits, seen }: Place,
    keyword: string,
    schema: unknown,
    more: { of?: Of; misfits?: Misfit[]; seen?: Seen } = {},
  ): boolean {
    const inner = { schema: schema as ValueSchema, at: `${at}/${keyword}`, depth: depth + 1 };
    return this.fits(
      inner,
      more.of ?? of,
      more.misfits ?? misfits,
      more.of ? new Seen() : (more.seen ?? seen),
    );
  }

  /** Keywords that apply other schemas to the same value. */
  private applies(place: Place): boolean {
    const { schema, report } = place;
    let isFit = true;
    if (typeof schema.$ref === "string") isFit = this.inner(place, "$ref", this.targetOf(schema.$ref));
    for (const [index, inner] of listOf(schema.allOf).entries())
      isFit = this.inner(place, `allOf/${index}`, inner) && isFit;
    const count = (keyword: "anyOf" | "oneOf", tried: Misfit[]) =>
      listOf(schema[keyword]).filter((inner, index) =>
        this.inner(place, `${keyword}/${index}`, inner, { misfits: tried.length === 0 ? tried : [] }),
      ).length;
    if (schema.anyOf !== undefined) {
      const tried: Misfit[] = [];
      if (count("anyOf", tried) === 0) {
        report(
          "anyOf",
          `it fits none of the alternatives; the first one: ${tried[0]?.message ?? "it does not fit"}`,
        );
        isFit = false;
      }
    }
    if (schema.oneOf !== undefined) {
      const fitting = count("oneOf", []);
      if (fitting !== 1) {
        report("oneOf", `it must fit exactly one of the alternatives, and fits ${fitting}`);
        isFit = false;
      }
    }
    if (schema.not !== undefined && this.inner(place, "not", schema.not, { misfits: [], seen: new Seen() })) {
      report("not", "it fits what it must not");
      isFit = false;
    }
    if (schema.if !== undefined) {
      const branch = this.inner(place, "if", schema.if, { misfits: [] }) ? "then" : "else";
      if (schema[branch] !== undefined) isFit = this.inner(place, branch, schema[branch]) && isFit;
    }
    return isFit;
  }

  private checkList(place: Place, list: readonly unknown[]): boolean {
    const { schema, of, report, seen } = place;
    const item = (index: number): Of => ({ value: list[index], path: [...of.path, index] });
    let isFit = checkCount(place, list.length, "Items", "items");
    const prefix = listOf(schema.prefixItems);
    for (const [index, inner] of prefix.slice(0, list.length).entries()) {
      isFit = this.inner(place, `prefixItems/${index}`, inner, { of: item(index) }) && isFit;
      seen.indexes.add(index);
    }
    if (schema.items !== undefined) {
      for (let index = prefix.length; index < list.length; index += 1) {
        isFit = this.inner(place, "items", schema.items, { of: item(index) }) && isFit;
        seen.indexes.add(index);
      }
    }
    if (schema.contains !== undefined) {
      const { minContains = 1, maxContains = Number.POSITIVE_INFINITY } = schema as Record<string, number>;
      const found = list.flatMap((_item, index) =>
        this.inner(place, "contains", schema.contains, { of: item(index), misfits: [] }) ? [index] : [],
      );
      for (const index of found) seen.indexes.add(index);
      if (found.length < minContains || found.length > maxContains) {
        report("contains", `${found.length} of its items are of the kind that it must contain`);
        isFit = false;
      }
    }
    if (schema.uniqueItems === true) {
      spendDeep(list);
      if (new Set(list.map((one) => canonicalJson(one))).size < list.length) {
        report("uniqueItems", "two of its items are equal");
        isFit = false;
      }
    }
    if (schema.unevaluatedItems !== undefined) {
      for (let index = 0; index < list.length; index += 1) {
        if (seen.indexes.has(index)) continue;
        isFit = this.inner(place, "unevaluatedItems", schema.unevaluatedItems, { of: item(index) }) && isFit;
        seen.indexes.add(index);
      }
    }
    return isFit;
  }

  private checkObject(place: Place, object: Record<string, unknown>): boolean {
    const { schema, of, report, seen } = place;
    const names = Object.keys(object);
    spend(names.length);
    const property = (name: string): Of => ({ value: object[name], path: [...of.path, name] });
    let isFit = checkCount(place, names.length, "Properties", "properties");
    const require = (required: unknown, keyword: string) => {
      for (const name of listOf(required) as string[]) {
        spend(1);
        if (Object.hasOwn(object, name)) continue;
        report(keyword, `the property ${JSON.stringify(name)} is missing`);
        isFit = false;
      }
    };
    require(schema.required, "required");
    const check = (keyword: string, inner: unknown, name: string) => {
      isFit = this.inner(place, keyword, inner, { of: property(name) }) && isFit;
      seen.names.add(name);
    };
    const own = isObject(schema.properties) ? schema.properties : {};
    const patterns = Object.entries(isObject(schema.patternProperties) ? schema.patternProperties : {});
    for (const name of names) {
      let isNamed = Object.hasOwn(own, name);
      if (isNamed) check(`properties/${name}`, own[name], name);
      for (const [pattern, inner] of patterns) {
        if (!matchesPattern(name, pattern)) continue;
        isNamed = true;
        check(`patternProperties/${pattern}`, inner, name);
      }
      if (schema.additionalProperties !== undefined && !isNamed)
        check("additionalProperties", schema.additionalProperties, name);
      if (schema.propertyNames !== undefined) {
        const of = { value: name, path: property(name).path };
        isFit = this.inner(place, "propertyNames", schema.propertyNames, { of }) && isFit;
      }
    }
    for (const keyword of ["dependentRequired", "dependentSchemas", "dependencies"]) {
      for (const [name, wanted] of Object.entries(isObject(schema[keyword]) ? schema[keyword] : {})) {
        spend(1);
        if (!Object.hasOwn(object, name)) continue;
        if (Array.isArray(wanted)) require(wanted, `${keyword}/${name}`);
        else isFit = this.inner(place, `${keyword}/${name}`, wanted) && isFit;
      }
    }
    if (schema.unevaluatedProperties !== undefined)
      for (const name of names)
        if (!seen.names.has(name)) check("unevaluatedProperties", schema.unevaluatedProperties, name);
    return isFit;
  }
}

interface Place {
  schema: Readonly<Record<string, unknown>>;
  at: string;
  depth: number;
  of: Of;
  misfits: Misfit[];
  report(keyword: string, message: string): void;
  seen: Seen;
}

function checkAny({ schema, of: { value }, report }: Place): boolean {
  let isFit = true;
  if (schema.type !== undefined) {
    const types = (Array.isArray(schema.type) ? schema.type : [schema.type]) as string[];
    if (!types.some((type) => isOfType(value, type))) {
      report("type", `it must be of type ${types.join(" or ")}, not ${typeOf(value)}`);
      isFit = false;
    }
  }
  for (const keyword of ["enum", "const"]) {
    if (schema[keyword] === undefined) continue;
    const allowed = keyword === "const" ? [schema.const] : (schema.enum as unknown[]);
    spendDeep(allowed);
    spendDeep(value);
    const text = canonicalJson(value);
    if (allowed.some((one) => canonicalJson(one) === text)) continue;
    report(
      keyword,
      keyword === "const" ? "it is not the one value allowed" : "it is none of the values allowed",
    );
    isFit = false;
  }
  return isFit;
}

function checkNumber({ schema, report }: Place, value: number): boolean {
  let isFit = true;
  const refuseUnless = (keyword: string, isKept: (limit: number) => boolean, words: string) => {
    const limit = schema[keyword];
    if (typeof limit !== "number" || isKept(limit)) return;
    report(keyword, `it must be ${words} ${limit}`);
    isFit = false;
  };
  refuseUnless("minimum", (limit) => value >= limit, "at least");
  refuseUnless("maximum", (limit) => value <= limit, "at most");
  refuseUnless("exclusiveMinimum", (limit) => value > limit, "more than");
  refuseUnless("exclusiveMaximum", (limit) => value < limit, "less than");
  refuseUnless("multipleOf", (step) => isMultiple(value, step), "a multiple of");
  return isFit;
}

/** 0.3 is a multiple of 0.1, though not of the double next to it. */
function isMultiple(value: number, step: number): boolean {
  const times = value / step;
  return Math.abs(times - Math.round(times)) <= Number.EPSILON * Math.max(1, Math.abs(times)) * 4;
}

function checkString(place: Place, text: string): boolean {
  const { schema, report } = place;
  textWork(text);
  const isCounted = schema.minLength !== undefined || schema.maxLength !== undefined;
  let isFit = !isCounted || checkCount(place, [...text].length, "Length", "characters");
  if (typeof schema.pattern === "string" && !matchesPattern(text, schema.pattern)) {
    report("pattern", `it does not match ${JSON.stringify(schema.pattern)}`);
    isFit = false;
  }
  const format = typeof schema.format === "string" ? FORMATS[schema.format] : undefined;
  if (format !== undefined && !format(text)) {
    report("format", `it is not of the format ${schema.format}`);
    isFit = false;
  }
  return isFit;
}

function checkCount({ schema, report }: Place, count: number, of: string, words: string): boolean {
  const [least, most] = [schema[`min${of}`], schema[`max${of}`]];
  if (typeof least === "number" && count < least)
    report(`min${of}`, `it has ${count} ${words}; ${least} are needed`);
  else if (typeof most === "number" && count > most)
    report(`max${of}`, `it has ${count} ${words}; ${most} are allowed`);
  else return true;
  return false;
}

const isDate = (text: string) => /^\d{4}-\d{2}-\d{2}$/.test(text) && !Number.isNaN(Date.parse(text));
const TIME = /^([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d{1,9})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$/i;
const HOST = /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/i;

/** Formats that are asserted; others say something to people. */
const FORMATS: Readonly<Record<string, (text: string) => boolean>> = {
  "date-time": (text) => /^.{10}t/i.test(text) && isDate(text.slice(0, 10)) && TIME.test(text.slice(11)),
  date: isDate,
  time: (text) => TIME.test(text),
  email: (text) => text.length <= 254 && /^[^\s@]{1,64}@[^\s@]+$/.test(text),
  hostname: (text) => HOST.test(text),
  ipv4: (text) => /^((25[0-5]|2[0-4]\d|1?\d?\d)(\.|$)){4}$/.test(text) && !text.endsWith("."),
  ipv6: (text) => /^[0-9a-f:.]{2,45}$/i.test(text) && URL.canParse(`http://[${text}]/`),
  uri: (text) => /^[a-z][a-z0-9+.-]*:\S*$/i.test(text) && URL.canParse(text),
  uuid: (text) => /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text),
};

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function typeOf(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}

function isOfType(value: unknown, type: string): boolean {
  return type === "integer" ? Number.isInteger(value) : typeOf(value) === type;
}
