/** Documents from outside as plain JSON. */
import { HitzeroError } from "../../base/errors.ts";
import { encodeJson, NotJsonError, pathText } from "../../base/json.ts";
import type { Faults } from "../faults.ts";
import { LIMITS } from "../limits.ts";

/** A copy that is JSON and nothing else: no accessors, no prototypes, no shared or later-changed parts. */
export function toPlainJson(document: unknown, what: string, faults: Faults): unknown {
  try {
    const text = encodeJson(document, {
      maxBytes: LIMITS.jsonTextLength,
      maxDepth: LIMITS.documentDepth,
      what,
    });
    const plain: unknown = JSON.parse(text);
    if (text.includes('"__proto__"')) refusePrototypeKeys(plain, [], faults);
    return plain;
  } catch (error) {
    if (!(error instanceof HitzeroError)) throw error;
    const notJson = error instanceof NotJsonError;
    faults.add(
      notJson ? "NOT_JSON" : "LIMIT_EXCEEDED",
      notJson ? error.path : "$",
      error.message,
      "Write plain JSON or YAML: text, finite numbers, true, false, null, lists, objects.",
    );
    return undefined;
  }
}

function refusePrototypeKeys(value: unknown, path: PropertyKey[], faults: Faults): void {
  if (value === null || typeof value !== "object") return;
  for (const [key, item] of Object.entries(value)) {
    const itemPath = [...path, Array.isArray(value) ? Number(key) : key];
    if (key === "__proto__") {
      faults.add(
        "RESERVED_KEY",
        pathText(itemPath),
        'the property "__proto__" is reserved',
        "Choose another name.",
      );
    }
    refusePrototypeKeys(item, itemPath, faults);
  }
}
