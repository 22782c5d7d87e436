/** The text of a workflow file (JSON or YAML) as a plain document. */
import { isCollection, LineCounter, parseDocument, visit } from "yaml";
import { numberFlaw } from "../base/json.ts";
import { lineAndColumn } from "./expression_place.ts";
import { Faults, quote } from "./faults.ts";
import { findJsonFlaw } from "./json_scan.ts";
import { LIMITS } from "./limits.ts";

/**
 * Parses the text of a workflow file or an IR. JSON if the file is called `.json`, or begins with `{` and is not called
 * `.yaml` or `.yml`; else YAML 1.2.
 * @throws InvalidInputError: TEXT_SYNTAX, DUPLICATE_KEY, TEXT_TOO_LARGE, YAML_ALIASES, YAML_TAG, each with line and column.
 */
export function parseWorkflowText(text: string, fileName: string): unknown {
  const source = text.startsWith("\ufeff") ? text.slice(1) : text;
  const faults = new Faults();
  const json = isJson(source, fileName);
  checkLength(source, json, faults);
  faults.throwIfAny(fileName);
  const document = json ? parseJson(source, faults) : parseYaml(source, faults);
  faults.throwIfAny(fileName);
  return document;
}

function isJson(text: string, fileName: string): boolean {
  if (/\.json$/i.test(fileName)) return true;
  return !/\.ya?ml$/i.test(fileName) && text.trimStart().startsWith("{");
}

function checkLength(text: string, json: boolean, faults: Faults): void {
  const limit = json ? LIMITS.jsonTextLength : LIMITS.yamlTextLength;
  if (text.length <= limit) return;
  const message = `the text has ${text.length} characters; the limit for ${json ? "JSON" : "YAML"} is ${limit}`;
  const hint = json ? "Split the workflow into sub-workflows." : "Write it as JSON, whose limit is higher.";
  faults.add("TEXT_TOO_LARGE", "line 1, column 1", message, hint);
}

function parseJson(text: string, faults: Faults): unknown {
  const flaw = findJsonFlaw(text);
  if (flaw === undefined) return JSON.parse(text);
  const place = lineAndColumn(text, flaw.offset);
  const message = `${flaw.path} ${flaw.message}`;
  if (flaw.kind === "duplicate_key") reportDuplicate(place, message, faults);
  else if (flaw.kind === "number") reportNumber(place, message, faults);
  else
    faults.add(
      "TEXT_SYNTAX",
      place,
      `this is not JSON: ${flaw.message}`,
      "Correct the text there, or just before.",
    );
  return undefined;
}

function reportDuplicate(place: string, message: string, faults: Faults): void {
  faults.add("DUPLICATE_KEY", place, message, "Keep one of them; the other would be silently lost.");
}

function reportNumber(place: string, message: string, faults: Faults): void {
  faults.add("NUMBER_NOT_EXACT", place, message, "Write it as text, in quotes.");
}

type YamlDocument = ReturnType<typeof parseDocument>;
type Place = (offset: number) => string;

function parseYaml(text: string, faults: Faults): unknown {
  const lineCounter = new LineCounter();
  const place: Place = (offset) => {
    const { line, col } = lineCounter.linePos(offset);
    return `line ${line}, column ${col}`;
  };
  try {
    const document = parseDocument(text, {
      lineCounter,
      version: "1.2",
      schema: "core",
      // Only what JSON can say: no dates, sets or binary data, which would change on their way.
      resolveKnownTags: false,
      uniqueKeys: true,
      prettyErrors: false,
    });
    reportYamlErrors(document, place, faults);
    if (faults.isEmpty) refuseWhatJsonLacks(document, place, faults);
    return faults.isEmpty ? document.toJS({ maxAliasCount: LIMITS.yamlAliases }) : undefined;
  } catch (error) {
    if (!reportYamlFailure(error, faults)) throw error;
    return undefined;
  }
}

/** One mistake in YAML makes the parser stumble many times; what follows the first few tells nothing. */
const MAX_YAML_ERRORS = 3;

function reportYamlErrors(document: YamlDocument, place: Place, faults: Faults): void {
  for (const { code, message, pos } of document.errors.slice(0, MAX_YAML_ERRORS)) {
    const where = place(pos[0]);
    if (message.includes("call stack")) {
      reportDepth(faults);
      return;
    }
    if (code === "DUPLICATE_KEY") reportDuplicate(where, "a key stands twice in one mapping", faults);
    else {
      const what = code === "MULTIPLE_DOCS" ? "a second document begins here" : message;
      faults.add(
        "TEXT_SYNTAX",
        where,
        `this is not YAML: ${what}`,
        "Correct the text there, or just before.",
      );
    }
  }
  for (const { code, pos } of document.warnings) {
    if (code !== "TAG_RESOLVE_FAILED") continue;
    const hint = "Write plain text, numbers, lists and mappings.";
    faults.add("YAML_TAG", place(pos[0]), "tags (!!…) other than YAML's core ones are refused", hint);
  }
}

/** Aliases without an anchor or inside their own, keys that are no text, numbers of which digits are lost. */
function refuseWhatJsonLacks(document: YamlDocument, place: Place, faults: Faults): void {
  visit(document, {
    Alias(_key, alias, ancestors) {
      const target = alias.resolve(document);
      if (target !== undefined && !ancestors.includes(target)) return;
      const fault = target === undefined ? "has no anchor" : "stands inside its own anchor";
      const message = `the alias ${quote(`*${alias.source}`)} ${fault}`;
      faults.add("YAML_ALIASES", place(alias.range?.[0] ?? 0), message, "Write the value out.");
    },
    Scalar(_key, { value, source, range }) {
      const flaw = typeof value === "number" && source ? numberFlaw(source, value) : undefined;
      if (flaw !== undefined) reportNumber(place(range?.[0] ?? 0), `this ${flaw}`, faults);
    },
    Pair(_key, pair) {
      if (!isCollection(pair.key)) return;
      const message = "a list or mapping stands as a key";
      faults.add("TEXT_SYNTAX", place(pair.key.range?.[0] ?? 0), message, "Keys must be plain text.");
    },
  });
}

/** What the YAML library throws instead of reporting: too many aliases (ReferenceError) or too deep nesting (RangeError). */
function reportYamlFailure(error: unknown, faults: Faults): boolean {
  if (error instanceof ReferenceError) {
    const message = `aliases are expanded more than ${LIMITS.yamlAliases} times`;
    faults.add("YAML_ALIASES", "line 1, column 1", message, "Write the values out.");
    return true;
  }
  if (error instanceof RangeError) reportDepth(faults);
  return error instanceof RangeError;
}

function reportDepth(faults: Faults): void {
  faults.add("TEXT_TOO_LARGE", "line 1, column 1", "the text nests too deep", "Flatten the structure.");
}
