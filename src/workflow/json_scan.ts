/**
 * Finds what is wrong with a JSON text and where: the first syntax error, or a key that stands twice in one object (which
 * JSON.parse silently resolves in favour of the last). JSON.parse itself does not always say where it failed.
 */

interface JsonFlaw {
  /** Offset in the text. */
  offset: number;
  kind: "syntax" | "duplicate_key";
  message: string;
}

const WHITE_SPACE = /[ \t\n\r]*/y;
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
      if (opened === "value" && !this.readScalar()) return this.syntax(this.missingValue());
      const next = this.afterValue();
      if (next === "flaw") return this.flaw;
      if (next === "end") return undefined;
    }
  }

  private flaw: JsonFlaw | undefined;

  /** `open`: a container was entered and its first value is due; `closed`: an empty one was read; `value`: a scalar is due. */
  private openContainer(): "open" | "closed" | "value" | "flaw" {
    this.skip(WHITE_SPACE);
    const sign = this.text[this.at];
    if (sign !== "{" && sign !== "[") return "value";
    this.at += 1;
    this.skip(WHITE_SPACE);
    if (this.text[this.at] === (sign === "{" ? "}" : "]")) {
      this.at += 1;
      return "closed";
    }
    this.open.push({ keys: sign === "{" ? new Set() : undefined });
    return this.readKey() ? "open" : "flaw";
  }

  /** Reads what follows a value: closing signs, or a comma and, in an object, the next key. */
  private afterValue(): "value" | "end" | "flaw" {
    for (;;) {
      this.skip(WHITE_SPACE);
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
    const keys = this.open.at(-1)?.keys;
    if (keys === undefined) return true;
    this.skip(WHITE_SPACE);
    const start = this.at;
    if (!this.readString()) return this.syntax("a key in double quotes is expected") === undefined;
    const key = JSON.parse(this.text.slice(start, this.at)) as string;
    if (keys.has(key)) {
      this.flaw = {
        offset: start,
        kind: "duplicate_key",
        message: `the key ${JSON.stringify(key)} stands twice in one object`,
      };
      return false;
    }
    keys.add(key);
    this.skip(WHITE_SPACE);
    if (this.text[this.at] !== ":") return this.syntax('":" is expected') === undefined;
    this.at += 1;
    return true;
  }

  private readScalar(): boolean {
    return this.readString() || this.skip(NUMBER) || this.skip(WORD);
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
