/**
 * Templates: texts of a config that hold expressions as `{{ CEL }}`. A text is parsed once, as the author wrote it; what an
 * expression gives is never parsed again. The end of an expression is the first `}}` outside its strings, comments and
 * braces, so `{{ {"a": {"b": 1}}.a.b }}` and `{{ "}}" }}` mean what they seem to. `{{ "{{" }}` writes two braces.
 */
import type { Expression } from "./cel.ts";
import { endOfString } from "./text.ts";

/** A piece of a template, in order. */
export type TemplatePart = { text: string } | { expression: string };

export type TemplateReading = { ok: true; parts: TemplatePart[] } | { ok: false; message: string };

/** A template whose expressions are compiled. */
export type Template = readonly (string | Expression)[];

const OPEN = "{{";

/** Reads a template. An expression's source is without the blanks around it; texts are kept as they are. */
export function readTemplate(text: string): TemplateReading {
  const parts: TemplatePart[] = [];
  let from = 0;
  for (let open = text.indexOf(OPEN); open !== -1; open = text.indexOf(OPEN, from)) {
    if (open > from) parts.push({ text: text.slice(from, open) });
    const close = endOfExpression(text, open + OPEN.length);
    if (close === undefined) return { ok: false, message: `the {{ at character ${open + 1} has no }}` };
    const expression = text.slice(open + OPEN.length, close).trim();
    if (expression === "")
      return { ok: false, message: `there is no expression in the {{ }} at character ${open + 1}` };
    parts.push({ expression });
    from = close + 2;
  }
  if (from < text.length || parts.length === 0) parts.push({ text: text.slice(from) });
  return { ok: true, parts };
}

/** May this text hold templates? Spares most texts the reading. */
export function holdsTemplate(text: string): boolean {
  return text.includes(OPEN);
}

/** Offset of the `}}` that ends the expression which begins at `from`. */
function endOfExpression(text: string, from: number): number | undefined {
  let braces = 0;
  let at = from;
  while (at < text.length) {
    const character = text[at] as string;
    if (character === '"' || character === "'") {
      at = endOfString(text, at);
      continue;
    }
    if (text.startsWith("//", at)) {
      const lineEnd = text.indexOf("\n", at);
      if (lineEnd === -1) return undefined;
      at = lineEnd;
      continue;
    }
    if (character === "{") braces += 1;
    else if (character === "}") {
      if (braces === 0 && text[at + 1] === "}") return at;
      braces -= 1;
    }
    at += 1;
  }
  return undefined;
}

/** Types of nodes whose config may hold templates. */
export type TemplateType = keyof typeof TEMPLATE_KINDS;

/** By type of node: which variables its templates see. */
export const TEMPLATE_KINDS = { http: "template", subworkflow: "subworkflow_input" } as const;

export function hasTemplates(type: unknown): type is TemplateType {
  return type === "http" || type === "subworkflow";
}

/** How the value of a template is used. */
type TemplateUse = "url" | "header" | "query" | "body";

export interface TemplateText {
  text: string;
  /** Place in the config. */
  path: readonly PropertyKey[];
  use: TemplateUse;
}

/** The texts of a config that may hold templates. It may still be faulty: what is no text is passed over. */
export function* templateTexts(type: TemplateType, config: unknown): Generator<TemplateText> {
  if (typeof config !== "object" || config === null) return;
  const { url, headers, query, body, input } = config as Record<string, unknown>;
  if (type === "subworkflow") {
    yield* textsIn(input, ["input"], "body");
    return;
  }
  yield* textsIn(url, ["url"], "url");
  yield* textsIn(headers, ["headers"], "header");
  yield* textsIn(query, ["query"], "query");
  yield* textsIn(body, ["body"], "body");
}

function* textsIn(value: unknown, path: readonly PropertyKey[], use: TemplateUse): Generator<TemplateText> {
  if (typeof value === "string") yield { text: value, path, use };
  else if (Array.isArray(value)) {
    for (const [index, item] of value.entries()) yield* textsIn(item, [...path, index], use);
  } else if (typeof value === "object" && value !== null) {
    for (const [key, item] of Object.entries(value)) yield* textsIn(item, [...path, key], use);
  }
}
