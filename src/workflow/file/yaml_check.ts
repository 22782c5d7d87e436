/**
 * What a YAML document may say beyond JSON, looked through once: its aliases, keys that are no text or stand twice, numbers of
 * which digits are lost. The library's own checks compare each key with all others of its mapping, and search the document for
 * each alias.
 */
import {
  type Alias,
  type Document,
  isAlias,
  isCollection,
  isMap,
  isScalar,
  isSeq,
  type Node,
  type Scalar,
} from "yaml";
import { numberFlaw } from "../../base/json.ts";
import { type Faults, quote } from "../faults.ts";
import { LIMITS } from "../limits.ts";

interface Anchor {
  isCollection: boolean;
  /** Is the walk inside of it? */
  isOpen: boolean;
  /** Aliases that are expanded with it. */
  expansions: number;
}

export function reportDuplicate(place: string, message: string, faults: Faults): void {
  faults.add("DUPLICATE_KEY", place, message, "Keep one of them; the other would be silently lost.");
}

export function reportNumber(place: string, message: string, faults: Faults): void {
  faults.add("NUMBER_NOT_EXACT", place, message, "Write it as text, in quotes.");
}

/** Adds faults: NUMBER_NOT_EXACT, YAML_ALIASES, DUPLICATE_KEY, TEXT_SYNTAX. `place` names an offset. */
export function checkYaml(document: Document, place: (offset: number) => string, faults: Faults): void {
  new Walk(place, faults).expansionsIn(document.contents);
}

class Walk {
  private readonly anchors = new Map<string, Anchor>();
  /** Aliases expanded so far, those within others counted each time. */
  private expanded = 0;

  constructor(
    private readonly place: (offset: number) => string,
    private readonly faults: Faults,
  ) {}

  /** Looks through a node, and returns how many aliases are expanded with it. */
  expansionsIn(node: unknown): number {
    if (isAlias(node)) return this.expand(node);
    if (!isScalar(node) && !isCollection(node)) return 0;
    if (node.anchor === undefined) return this.inside(node);
    const anchor: Anchor = { isCollection: isCollection(node), isOpen: true, expansions: 0 };
    this.anchors.set(node.anchor, anchor);
    anchor.expansions = this.inside(node);
    anchor.isOpen = false;
    return anchor.expansions;
  }

  private inside(node: Node): number {
    let expansions = 0;
    if (isScalar(node)) this.checkNumber(node);
    if (isSeq(node)) for (const item of node.items) expansions += this.expansionsIn(item);
    if (!isMap(node)) return expansions;
    const seen = new Set<string>();
    for (const { key, value } of node.items) {
      expansions += this.expansionsIn(key);
      this.checkKey(key, seen);
      expansions += this.expansionsIn(value);
    }
    return expansions;
  }

  private checkNumber(scalar: Scalar): void {
    const { value, source } = scalar;
    const flaw = typeof value === "number" && source ? numberFlaw(source, value) : undefined;
    if (flaw !== undefined) reportNumber(this.placeOf(scalar), `this ${flaw}`, this.faults);
  }

  private expand(alias: Alias): number {
    const anchor = this.anchors.get(alias.source);
    if (anchor === undefined || anchor.isOpen) {
      const fault = anchor === undefined ? "has no anchor" : "stands inside its own anchor";
      this.fault(
        "YAML_ALIASES",
        alias,
        `the alias ${quote(`*${alias.source}`)} ${fault}`,
        "Write the value out.",
      );
      return 0;
    }
    const expansions = 1 + anchor.expansions;
    const before = this.expanded;
    this.expanded += expansions;
    if (before <= LIMITS.yamlAliases && this.expanded > LIMITS.yamlAliases) {
      const message = `aliases are expanded more than ${LIMITS.yamlAliases} times`;
      // A fault of the document as a whole.
      this.faults.add("YAML_ALIASES", this.place(0), message, "Write the values out.");
    }
    return expansions;
  }

  private checkKey(key: unknown, seen: Set<string>): void {
    const node = key as Node | null;
    if (isCollection(key) || (isAlias(key) && this.anchors.get(key.source)?.isCollection)) {
      this.fault("TEXT_SYNTAX", node, "a list or mapping stands as a key", "Keys must be plain text.");
      return;
    }
    // As the library names the property.
    const value = isScalar(key) ? key.value : isAlias(key) ? undefined : null;
    if (value === undefined) return;
    const name = value === null ? "" : String(value);
    if (seen.has(name)) reportDuplicate(this.placeOf(node), "a key stands twice in one mapping", this.faults);
    seen.add(name);
  }

  private fault(code: string, node: Node | null, message: string, hint: string): void {
    this.faults.add(code, this.placeOf(node), message, hint);
  }

  private placeOf(node: Node | null): string {
    return this.place(node?.range?.[0] ?? 0);
  }
}
