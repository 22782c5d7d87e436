/** The text of a workflow file (JSON or YAML) as a plain document. */
import { LineCounter, parseDocument } from "yaml";
import { lineAndColumn } from "../cel/expression_place.ts";
import { Faults } from "../faults.ts";
import { LIMITS } from "../limits.ts";
import { findJsonFlaw } from "./json_scan.ts";
import { checkYaml, reportDuplicate, reportNumber } from "./yaml_check.ts";

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
      // Looked after in `checkYaml`.
      uniqueKeys: false,
      prettyErrors: false,
    });
    reportYamlErrors(document, place, faults);
    if (faults.isEmpty) checkYaml(document, place, faults);
    // The aliases are counted by now.
    return faults.isEmpty ? document.toJS({ maxAliasCount: -1 }) : undefined;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    reportDepth(faults);
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
    const what = code === "MULTIPLE_DOCS" ? "a second document begins here" : message;
    faults.add("TEXT_SYNTAX", where, `this is not YAML: ${what}`, "Correct the text there, or just before.");
  }
  for (const { code, pos } of document.warnings) {
    if (code !== "TAG_RESOLVE_FAILED") continue;
    const hint = "Write plain text, numbers, lists and mappings.";
    faults.add("YAML_TAG", place(pos[0]), "tags (!!…) other than YAML's core ones are refused", hint);
  }
}

function reportDepth(faults: Faults): void {
  faults.add("TEXT_TOO_LARGE", "line 1, column 1", "the text nests too deep", "Flatten the structure.");
}
