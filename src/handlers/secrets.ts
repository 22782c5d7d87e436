/**
 * Secrets by reference: read by the worker when an attempt needs them, kept for that attempt only, and struck out of whatever
 * the attempt leaves behind. Workflows come from people who need not be trusted with the worker's own environment, so only
 * what HITZERO_SECRETS_ALLOW lists can be referred to, and hitzero's own settings never.
 */
import { constants } from "node:fs";
import { type FileHandle, open, realpath } from "node:fs/promises";
import { resolve } from "node:path";
import { HitzeroError } from "../base/errors.ts";
import { AttemptError } from "./errors.ts";

/** References that a worker resolves unless HITZERO_SECRETS_ALLOW says otherwise. */
const ALLOWED_BY_DEFAULT = "env:HITZERO_SECRET_*,file:/run/secrets/*";
/** Where the servers are, passwords included. */
const OWN_SETTINGS = /^(?:HITZERO_(?!SECRET_).*|REDIS_URL|DATABASE_URL)$/i;
const MAX_SECRET_BYTES = 64 * 1024;
const SETTING = "HITZERO_SECRETS_ALLOW";

/**
 * Reads the secrets of a node.
 * @param references by name: `env:NAME` or `file:/path`; of a file, the line break at its end does not count.
 * @throws AttemptError SECRET_MISSING (not set, empty, unreadable), SECRET_REFUSED; neither holds a value.
 */
export async function resolveSecrets(
  references: Readonly<Record<string, string>>,
  environment: NodeJS.ProcessEnv,
): Promise<Record<string, string>> {
  const secrets: Record<string, string> = {};
  for (const [name, reference] of Object.entries(references)) {
    const place = reference.slice(reference.indexOf(":") + 1);
    const value = reference.startsWith("env:")
      ? fromEnvironment(place, environment)
      : await fromFile(place, environment);
    if (value === undefined || value === "") throw missing(name, reference);
    secrets[name] = value;
  }
  return secrets;
}

function fromEnvironment(variable: string, environment: NodeJS.ProcessEnv): string | undefined {
  const listed = patternsOf(environment, "env:").some((pattern) =>
    pattern.endsWith("*") ? variable.startsWith(pattern.slice(0, -1)) : variable === pattern,
  );
  if (!listed || OWN_SETTINGS.test(variable)) throw refused(`env:${variable}`);
  return environment[variable];
}

async function fromFile(path: string, environment: NodeJS.ProcessEnv): Promise<string | undefined> {
  const patterns = patternsOf(environment, "file:");
  // What a path looks like is asked first, so that a refusal does not tell which files exist.
  if (!patterns.some((pattern) => covers(pattern, resolve(path)))) throw refused(`file:${path}`);
  let file: FileHandle | undefined;
  try {
    const real = await realpath(path);
    const realPatterns = await Promise.all(patterns.map(realPattern));
    if (!realPatterns.some((pattern) => covers(pattern, real))) throw refused(`file:${path}`);
    // Does not wait for the writer of a pipe; what is no regular file is refused below.
    file = await open(real, constants.O_RDONLY | constants.O_NONBLOCK);
    const { size } = await regularFile(file);
    if (size > MAX_SECRET_BYTES) return undefined;
    return (await file.readFile("utf8")).replace(/\r?\n$/, "");
  } catch (error) {
    if (error instanceof HitzeroError) throw error;
    return undefined;
  } finally {
    await file?.close();
  }
}

async function regularFile(file: FileHandle): Promise<{ size: number }> {
  const found = await file.stat();
  if (!found.isFile()) throw new Error("a secret is a regular file");
  return found;
}

/** The patterns of one kind that the setting lists, without the kind. */
function patternsOf(environment: NodeJS.ProcessEnv, kind: "env:" | "file:"): string[] {
  return (environment[SETTING] ?? ALLOWED_BY_DEFAULT)
    .split(",")
    .map((entry) => entry.trim())
    .filter((entry) => entry.startsWith(kind))
    .map((entry) => entry.slice(kind.length));
}

/** `folder/*` covers what lies below the folder, another pattern only itself. */
function covers(pattern: string, path: string): boolean {
  return pattern.endsWith("/*") ? path.startsWith(pattern.slice(0, -1)) : path === pattern;
}

/** The pattern with the links in its path followed, as far as the path exists. */
async function realPattern(pattern: string): Promise<string> {
  if (pattern === "/*") return pattern;
  const isFolder = pattern.endsWith("/*");
  const path = isFolder ? pattern.slice(0, -2) : pattern;
  const real = await realpath(path).catch(() => path);
  return isFolder ? `${real}/*` : real;
}

function missing(name: string, reference: string): AttemptError {
  return new AttemptError("SECRET_MISSING", `secret ${name}: this worker has nothing at ${reference}`, {
    hint: "Set it where the worker is started; an empty value counts as missing.",
    retryable: false,
  });
}

function refused(reference: string): AttemptError {
  return new AttemptError("SECRET_REFUSED", `this worker may not read ${reference} as a secret`, {
    hint: `List it in the worker's ${SETTING} (default ${ALLOWED_BY_DEFAULT}); hitzero's own settings are never secrets of a workflow.`,
    retryable: false,
  });
}

const STRUCK_OUT = "***";
/** Shorter values made from a secret (a comparison's `true`) do not give it away, and would be struck out everywhere. */
const MIN_DERIVED_LENGTH = 8;
const MIN_ENCODED_LENGTH = 4;
const MAX_DEPTH = 200;

/** Strikes secrets out of texts, in the spellings in which they travel. */
export class Redaction {
  private readonly forms = new Set<string>();
  /** The spellings, the longest first: one may hold another. */
  private order: readonly string[] | undefined;

  constructor(secrets: Iterable<string> = []) {
    for (const secret of secrets) this.add(secret);
  }

  add(secret: string): void {
    const encoded = encodeURIComponent(secret.toWellFormed());
    const forms = [
      secret,
      secret.trim(),
      JSON.stringify(secret).slice(1, -1),
      encoded,
      encoded.replaceAll("%20", "+"),
      encoded.replaceAll(/%../g, (octet) => octet.toLowerCase()),
      // As bytes read one by one: headers, and bodies that are no text.
      Buffer.from(secret).toString("latin1"),
    ];
    if (secret.length >= MIN_ENCODED_LENGTH) {
      // Hosts are written in lower case.
      forms.push(secret.toLowerCase());
      forms.push(Buffer.from(secret).toString("base64"), Buffer.from(secret).toString("base64url"));
    }
    for (const form of forms) if (form !== "") this.forms.add(form);
    this.order = undefined;
  }

  /** Adds what an expression made of a secret, unless the secret is struck out of it anyway. */
  addDerived(value: unknown): void {
    if (typeof value !== "string" || value.length < MIN_DERIVED_LENGTH) return;
    if (this.text(value) === value) this.add(value);
  }

  get isEmpty(): boolean {
    return this.forms.size === 0;
  }

  /** Length of the longest spelling. */
  get longest(): number {
    return this.sorted()[0]?.length ?? 0;
  }

  private sorted(): readonly string[] {
    this.order ??= [...this.forms].sort((a, b) => b.length - a.length);
    return this.order;
  }

  text(text: string): string {
    let struck = text;
    for (const form of this.sorted()) struck = struck.replaceAll(form, STRUCK_OUT);
    return struck;
  }

  /**
   * A JSON value with the secrets struck out of its strings, its keys and, where they are secrets as a whole, its numbers.
   * @throws AttemptError OUTPUT_TOO_DEEP
   */
  json(value: unknown, depth = 0): unknown {
    if (this.isEmpty) return value;
    if (typeof value === "string") return this.text(value);
    if (typeof value === "number") {
      const text = String(value);
      return text.length >= MIN_ENCODED_LENGTH && this.forms.has(text) ? STRUCK_OUT : value;
    }
    if (typeof value !== "object" || value === null) return value;
    if (depth > MAX_DEPTH) {
      throw new AttemptError("OUTPUT_TOO_DEEP", `the body nests deeper than ${MAX_DEPTH} levels`, {
        retryable: false,
      });
    }
    if (Array.isArray(value)) return value.map((item) => this.json(item, depth + 1));
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [this.text(key), this.json(item, depth + 1)]),
    );
  }
}
