/**
 * Finds what is wrong with a JSON text and where: the first syntax error, or what JSON.parse changes in silence: of a key that
 * stands twice in one object it keeps the last, of a number what a double holds. JSON.parse itself does not always say where it
 * failed.
 */
import { numberFlaw, pathText } from "../../base/json.ts";

interface JsonFlaw {
  /** Offset in the text. */
  offset: number;
  /** JSON path of a value at fault, or of a key that stands twice. */
  path?: string;
  kind: "syntax" | "duplicate_key" | "number";
  message: string;
}

/** After a backslash. */
const ESCAPE = /["\\/bfnrt]|u[0-9a-fA-F]{4}/y;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const WORD = /true|false|null/y;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const FIRST_PRINTABLE = 0x20;

interface Container {
  /** Keys seen so far; undefined for a list. */
  keys: Set<string> | undefined;
  /** The key or index whose value is read. */
  at: string | number;
}

/** @returns the first flaw, or undefined for a sound text. Nesting is no limit. */
export function findJsonFlaw(text: string): JsonFlaw | undefined {
  return new Scan(text).run();
}

class Scan {
  private at = 0;
  private readonly open: Container[] = [];

  constructor(private readonly text: string) {}

  run(): JsonFlaw | undefined {
    for (;;) {
      // A value is due here.
      const opened = this.openContainer();
      if (opened === "flaw") return this.flaw;
      if (opened === "open") continue;
      if (opened === "value" && !this.readScalar()) return this.flaw ?? this.syntax(this.missingValue());
      const next = this.afterValue();
      if (next === "flaw") return this.flaw;
      if (next === "end") return undefined;
    }
  }

  private flaw: JsonFlaw | undefined;

  /** `open`: a container was entered and its first value is due; `closed`: an empty one was read; `value`: a scalar is due. */
  private openContainer(): "open" | "closed" | "value" | "flaw" {
    this.skipSpace();
    const sign = this.text[this.at];
    if (sign !== "{" && sign !== "[") return "value";
    this.at += 1;
    this.skipSpace();
    if (this.text[this.at] === (sign === "{" ? "}" : "]")) {
      this.at += 1;
      return "closed";
    }
    this.open.push({ keys: sign === "{" ? new Set() : undefined, at: -1 });
    return this.readKey() ? "open" : "flaw";
  }

  /** Reads what follows a value: closing signs, or a comma and, in an object, the next key. */
  private afterValue(): "value" | "end" | "flaw" {
    for (;;) {
      this.skipSpace();
      const container = this.open.at(-1);
      const sign = this.text[this.at];
      if (container === undefined) {
        if (sign === undefined) return "end";
        this.syntax("the text goes on after its end");
        return "flaw";
      }
      if (sign === ",") {
        this.at += 1;
        return this.readKey() ? "value" : "flaw";
      }
      if (sign !== (container.keys === undefined ? "]" : "}")) {
        this.syntax(container.keys === undefined ? '"," or "]" is expected' : '"," or "}" is expected');
        return "flaw";
      }
      this.at += 1;
      this.open.pop();
    }
  }

  /** In an object reads `"key":`; in a list nothing. */
  private readKey(): boolean {
    const container = this.open.at(-1) as Container;
    const { keys } = container;
    if (keys === undefined) {
      container.at = (container.at as number) + 1;
      return true;
    }
    this.skipSpace();
    const start = this.at;
    if (!this.readString()) return this.syntax("a key in double quotes is expected") === undefined;
    const written = this.text.slice(start + 1, this.at - 1);
    const key = written.includes("\\") ? (JSON.parse(`"${written}"`) as string) : written;
    container.at = key;
    if (keys.has(key)) {
      const message = "stands twice in one object";
      this.flaw = { offset: start, path: this.path(), kind: "duplicate_key", message };
      return false;
    }
    keys.add(key);
    this.skipSpace();
    if (this.text[this.at] !== ":") return this.syntax('":" is expected') === undefined;
    this.at += 1;
    return true;
  }

  private readScalar(): boolean {
    return this.readString() || this.readNumber() || this.skip(WORD);
  }

  private readNumber(): boolean {
    const start = this.at;
    if (!this.skip(NUMBER)) return false;
    const message = numberFlaw(this.text.slice(start, this.at));
    if (message === undefined) return true;
    this.flaw = { offset: start, path: this.path(), kind: "number", message };
    return false;
  }

  private path(): string {
    return pathText(this.open.map(({ at }) => at));
  }

  /** By hand, as a pattern with alternatives would run out of stack on a string of millions. */
  private readString(): boolean {
    if (this.text.charCodeAt(this.at) !== QUOTE) return false;
    let at = this.at + 1;
    for (;;) {
      const unit = this.text.charCodeAt(at);
      at += 1;
      if (unit === QUOTE) {
        this.at = at;
        return true;
      }
      // Also the end of the text, whose unit is NaN.
      if (!(unit >= FIRST_PRINTABLE)) return false;
      if (unit !== BACKSLASH) continue;
      ESCAPE.lastIndex = at;
      if (!ESCAPE.test(this.text)) return false;
      at = ESCAPE.lastIndex;
    }
  }

  private skipSpace(): void {
    for (;;) {
      const unit = this.text.charCodeAt(this.at);
      if (unit !== 0x20 && unit !== 0x0a && unit !== 0x0d && unit !== 0x09) return;
      this.at += 1;
    }
  }

  /** Moves past a sticky pattern; false if it does not match. */
  private skip(pattern: RegExp): boolean {
    pattern.lastIndex = this.at;
    if (!pattern.test(this.text)) return false;
    this.at = pattern.lastIndex;
    return true;
  }

  private missingValue(): string {
    if (this.text.charCodeAt(this.at) !== QUOTE) return "a value is expected";
    return "this string is not closed in its line, or has an unknown escape";
  }

  private syntax(message: string): JsonFlaw {
    const found = this.at >= this.text.length ? ", but the text ends" : "";
    this.flaw = { offset: this.at, kind: "syntax", message: `${message}${found}` };
    return this.flaw;
  }
}
