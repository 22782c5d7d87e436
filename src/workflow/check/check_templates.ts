/** Checks what of a node's templates can be told without data: their form, their literal parts, the secrets they name. */
import { pathText } from "../../base/json.ts";
import {
  hasTemplates,
  readTemplate,
  TEMPLATE_KINDS,
  type TemplatePart,
  type TemplateText,
  type TemplateType,
  templateTexts,
} from "../cel/templates.ts";
import { type DraftNode, isObject } from "../compile/draft.ts";
import { didYouMean, type Faults, quote } from "../faults.ts";

export interface TemplateExpression {
  source: string;
  kind: (typeof TEMPLATE_KINDS)[TemplateType];
  /** JSON path of the text that holds it. */
  path: string;
  /** Put before a problem's message: tells which of several expressions of a text is meant. */
  prefix: string;
  /** Names of the secrets that the node declares. */
  secrets: readonly string[];
}

const NOT_IN_HEADERS = /[^\t\x20-\x7e\x80-\xff]/;
const WEB_ADDRESS = /^https?:\/\/[^/?#]/i;

/** The expressions in the templates of a node's config, if its type has any. Faulty templates are reported. */
export function* templateExpressions(node: DraftNode, faults: Faults): Generator<TemplateExpression> {
  const { type, config } = node.raw;
  if (!hasTemplates(type)) return;
  const kind = TEMPLATE_KINDS[type];
  const secrets = isObject(config) && isObject(config.secrets) ? Object.keys(config.secrets) : [];
  for (const place of templateTexts(type, config)) {
    const path = `${node.path}.config${pathText(place.path).slice(1)}`;
    const reading = readTemplate(place.text);
    if (!reading.ok) {
      const hint = 'Write {{ expression }}; {{ "{{" }} stands for two braces.';
      faults.add("TEMPLATE_SYNTAX", path, reading.message, hint);
      continue;
    }
    checkLiterals(place, reading.parts, path, faults);
    const sources = reading.parts.flatMap((part) => ("expression" in part ? [part.expression] : []));
    for (const [index, source] of sources.entries()) {
      const prefix = sources.length === 1 ? "" : `template ${index + 1} of ${sources.length}: `;
      yield { source, kind, path, prefix, secrets };
    }
  }
}

/** Reports the secrets that a template names and the node does not declare. */
export function checkSecretNames(names: readonly string[], at: TemplateExpression, faults: Faults): void {
  for (const name of names) {
    if (at.secrets.includes(name)) continue;
    const message = `${at.prefix}secrets.${name}: config.secrets of this node does not declare it`;
    const fallback = `Declare it: "secrets": { ${quote(name)}: "env:HITZERO_SECRET_NAME" }.`;
    faults.add("SECRET_UNKNOWN", at.path, message, didYouMean(name, at.secrets, fallback));
  }
}

function checkLiterals(
  place: TemplateText,
  parts: readonly TemplatePart[],
  path: string,
  faults: Faults,
): void {
  if (place.use === "header") {
    if (!parts.some((part) => "text" in part && NOT_IN_HEADERS.test(part.text))) return;
    const message = "a header cannot hold line breaks, other control characters or letters beyond Latin-1";
    faults.add(
      "INVALID_VALUE",
      path,
      message,
      "Write it in one line; percent-encode or Base64-encode the rest.",
    );
  } else if (place.use === "url") {
    const [first] = parts;
    if (first === undefined || "expression" in first) return;
    const isWhole = parts.length === 1;
    if (isWhole ? isWebAddress(first.text) : startsLikeOne(first.text)) return;
    const message = "this is no absolute http or https address";
    faults.add("INVALID_VALUE", path, message, "Write https://host/path.");
  }
}

function isWebAddress(text: string): boolean {
  return WEB_ADDRESS.test(text) && URL.canParse(text);
}

/** Its host may come from a template. */
function startsLikeOne(text: string): boolean {
  return /^https?:/i.test(text) ? /^https?:\/\//i.test(text) : "https://".startsWith(text.toLowerCase());
}
