/**
 * The request that an `http` node's config and an execution's data make. Values go into it as data: percent-encoded in the
 * address, refused in headers if they would break the line, encoded as JSON in the body. They are never read as templates.
 */
import { encodeJson, pathText } from "../base/json.ts";
import type { Expression } from "../workflow/cel/cel.ts";
import { holdsTemplate, type Template } from "../workflow/cel/templates.ts";
import type { HttpConfig } from "../workflow/file/http_config.ts";
import { programsOf } from "../workflow/ir/programs.ts";
import { AttemptError } from "./errors.ts";
import { budgetOf, countedText, idempotencyKeyOf, renderJson, variablesOf } from "./execution.ts";
import type { Redaction } from "./secrets.ts";
import type { Execution } from "./types.ts";

/** Largest body in either direction, bytes: the limit of an output (CONTRACT "Defaults"). */
export const MAX_BODY_BYTES = 16 * 1024 * 1024;
const MAX_BODY_DEPTH = 200;

export interface Header {
  value: string;
  /** Made with a secret: it stays with the origin that it was written for. */
  secret: boolean;
}

export interface HttpRequest {
  method: string;
  /** Without credentials and fragment. */
  url: URL;
  /** By name in lower case. */
  headers: Map<string, Header>;
  body: Buffer | undefined;
  bodyIsSecret: boolean;
}

const NOT_IN_HEADERS = /[^\t\x20-\x7e\x80-\xff]/;
const DOT_SEGMENT = /(?:^|[/\\])(?:\.|%2e){1,2}(?=[/\\]|$)/i;
/** Methods whose repetition may do harm. */
const UNSAFE_METHODS: ReadonlySet<string> = new Set(["POST", "PUT", "PATCH", "DELETE"]);

/**
 * Makes the request of an execution.
 * @throws AttemptError HTTP_URL_INVALID, HTTP_HEADER_INVALID, HTTP_TEMPLATE_VALUE, OUTPUT_TOO_LARGE (the body); HitzeroError
 *   EXPRESSION_FAILED. None holds a value of the run.
 */
export function makeRequest(
  execution: Execution,
  config: HttpConfig,
  secrets: Readonly<Record<string, string>>,
  redaction: Redaction,
): HttpRequest {
  const renderer = new Renderer(execution, secrets, redaction);
  const url = makeUrl(renderer, config);
  const headers = makeHeaders(renderer, config.headers);
  const body = renderer.watch(() => {
    const value = config.body === undefined ? undefined : renderer.deep(["body"], config.body);
    return value === undefined ? undefined : encodeBody(value, headers.get("content-type")?.value, execution);
  });
  const credentials = takeCredentials(url);
  if (credentials !== undefined) redaction.add(credentials.slice("Basic ".length));
  const defaults: Record<string, string | undefined> = {
    accept: "*/*",
    "accept-encoding": "gzip, deflate, br",
    "user-agent": "hitzero",
    authorization: credentials,
    "content-type": body.value?.type,
    "idempotency-key": UNSAFE_METHODS.has(config.method) ? idempotencyKeyOf(execution) : undefined,
  };
  for (const [name, value] of Object.entries(defaults)) {
    if (value !== undefined && !headers.has(name)) headers.set(name, { value, secret: false });
  }
  for (const [name, { value }] of headers) if (value === null) headers.delete(name);
  return {
    method: config.method,
    url,
    headers: headers as Map<string, Header>,
    body: body.value?.bytes,
    bodyIsSecret: body.secret,
  };
}

type Path = readonly PropertyKey[];

/** Null: left out. */
type FieldHeader = Omit<Header, "value"> & { value: string | null };

function makeHeaders(renderer: Renderer, config: HttpConfig["headers"]): Map<string, FieldHeader> {
  const headers = new Map<string, FieldHeader>();
  for (const [name, text] of Object.entries(config)) {
    const path = ["headers", name];
    const { value, secret } = renderer.watch(() => renderer.value(path, text));
    const field = value === null ? null : renderer.asText(path, value);
    if (field !== null && NOT_IN_HEADERS.test(field)) {
      const message = `${renderer.nameOf(path)} holds a line break, another control character or a letter beyond Latin-1`;
      throw new AttemptError("HTTP_HEADER_INVALID", message, {
        hint: "Nothing was sent. Encode the value, or take such characters out.",
        retryable: false,
      });
    }
    headers.set(name.toLowerCase(), { value: field, secret });
  }
  return headers;
}

function makeUrl(renderer: Renderer, config: HttpConfig): URL {
  const text = renderer.address(config.url);
  const url = parseUrl(text, renderer.nameOf(["url"]));
  const pairs: string[] = [];
  for (const [name, given] of Object.entries(config.query)) {
    for (const [index, item] of (Array.isArray(given) ? given : [given]).entries()) {
      const path = Array.isArray(given) ? ["query", name, index] : ["query", name];
      const value = renderer.value(path, item);
      for (const single of Array.isArray(value) ? value : [value]) {
        if (single === null) continue;
        pairs.push(`${percentEncode(name)}=${percentEncode(renderer.asText(path, single))}`);
      }
    }
  }
  if (pairs.length > 0) url.search = [url.search.slice(1), ...pairs].filter((part) => part !== "").join("&");
  url.hash = "";
  return url;
}

/**
 * Reads an address.
 * @throws AttemptError HTTP_URL_INVALID if it is none, or neither http nor https
 */
export function parseUrl(text: string, what: string, base?: URL): URL {
  const url = URL.canParse(text, base?.href) ? new URL(text, base) : undefined;
  if (url?.protocol === "http:" || url?.protocol === "https:") return url;
  throw urlInvalid(`${what} is no http or https address`);
}

function urlInvalid(message: string): AttemptError {
  return new AttemptError("HTTP_URL_INVALID", message, {
    hint: "An address begins with https:// and a host. Values of templates in it are percent-encoded, unless they are all of it or the beginning before a /.",
    retryable: false,
  });
}

/** Takes `user:password@` out of an address; @returns the header that says the same. */
function takeCredentials(url: URL): string | undefined {
  if (url.username === "" && url.password === "") return undefined;
  const pair = [url.username, url.password].map(percentDecode).join(":");
  url.username = "";
  url.password = "";
  return `Basic ${Buffer.from(pair).toString("base64")}`;
}

function encodeBody(
  value: unknown,
  contentType: string | null | undefined,
  { node }: Execution,
): { bytes: Buffer; type: string } {
  const what = `the body of node ${node.id}`;
  if (typeof value === "string") {
    if (Buffer.byteLength(value) > MAX_BODY_BYTES) throw tooLarge(what);
    return { bytes: Buffer.from(value), type: "text/plain; charset=utf-8" };
  }
  if (/^application\/x-www-form-urlencoded\b/i.test(contentType ?? "")) {
    return { bytes: Buffer.from(formText(value, what)), type: "" };
  }
  const text = encodeJson(value, { maxBytes: MAX_BODY_BYTES, maxDepth: MAX_BODY_DEPTH, what });
  return { bytes: Buffer.from(text), type: "application/json" };
}

function formText(value: unknown, what: string): string {
  const fields = new URLSearchParams();
  for (const [name, given] of Object.entries(value ?? {})) {
    for (const item of Array.isArray(given) ? given : [given]) {
      if (item === null) continue;
      if (typeof item === "object") throw noText(`${what}: field ${JSON.stringify(name)}`, item);
      fields.append(name, String(item));
    }
  }
  return fields.toString();
}

export function tooLarge(what: string): AttemptError {
  return new AttemptError("OUTPUT_TOO_LARGE", `${what} is larger than ${MAX_BODY_BYTES} bytes`, {
    hint: "Ask for less at once, or let a function store it elsewhere and hand on a reference.",
    retryable: false,
  });
}

function noText(what: string, value: unknown): AttemptError {
  const kind = value === null ? "null" : Array.isArray(value) ? "a list" : "an object";
  return new AttemptError("HTTP_TEMPLATE_VALUE", `${what}: a value is ${kind}, which has no text form here`, {
    hint: "Give text, a number or a bool; a header or query parameter whose whole value is null is left out.",
    retryable: false,
  });
}

function percentEncode(text: string): string {
  return encodeURIComponent(text.toWellFormed());
}

function percentDecode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Evaluates the templates of one execution's config. */
class Renderer {
  private readonly variables: Record<string, unknown>;
  private usedSecret = false;

  constructor(
    private readonly execution: Execution,
    secrets: Readonly<Record<string, string>>,
    private readonly redaction: Redaction,
  ) {
    this.variables = Object.defineProperty(variablesOf(execution), "secrets", { value: secrets });
  }

  /** Tells whether `work` used a secret. */
  watch<T>(work: () => T): { value: T; secret: boolean } {
    this.usedSecret = false;
    const value = work();
    return { value, secret: this.usedSecret };
  }

  nameOf(path: Path): string {
    return `${pathText(path).slice(2)} of node "${this.execution.node.id}"`;
  }

  /** The value of a text that is exactly one template, in its own type; of another text, its text. Others are themselves. */
  value(
    path: Path,
    given: unknown,
    write: (value: unknown) => string = (value) => this.asText(path, value),
  ): unknown {
    if (typeof given !== "string" || !holdsTemplate(given)) return given;
    const template = this.template(path, given);
    const [only] = template;
    if (template.length === 1 && only !== undefined && typeof only !== "string") return this.evaluate(only);
    return template.map((part) => (typeof part === "string" ? part : write(this.evaluate(part)))).join("");
  }

  /** A JSON value with the templates in its strings rendered. In a text of several parts, what is no text becomes JSON. */
  deep(path: Path, given: unknown): unknown {
    return renderJson(path, given, (at, text) =>
      this.value(at, text, (value) =>
        countedText(typeof value === "string" ? value : JSON.stringify(value), this.execution),
      ),
    );
  }

  /**
   * The text of the address. A template that is all of it, or its beginning before a `/`, `?` or `#`, is an address itself;
   * the value of any other is percent-encoded, and cannot climb up the path.
   */
  address(given: string): string {
    const path = ["url"];
    if (!holdsTemplate(given)) return given;
    const template = this.template(path, given);
    const [first, second = "/"] = template;
    const startsWithAddress =
      typeof first === "object" && typeof second === "string" && /^[/?#]/.test(second);
    const texts = template.map((part, index) => {
      if (typeof part === "string") return part;
      const text = this.asText(path, this.evaluate(part));
      return startsWithAddress && index === 0 ? text : percentEncode(text);
    });
    const written = texts.slice(startsWithAddress ? 1 : 0).join("");
    if (DOT_SEGMENT.test(written.split(/[?#]/)[0] as string)) {
      throw urlInvalid(
        `${this.nameOf(path)} has a . or .. between its slashes, which would lead to another place`,
      );
    }
    return texts.join("");
  }

  asText(path: Path, value: unknown): string {
    if (typeof value === "object") throw noText(this.nameOf(path), value);
    return countedText(String(value), this.execution);
  }

  private template(path: Path, text: string): Template {
    return programsOf(this.execution.ir).template(this.execution.nodeIndex, path, text);
  }

  private evaluate(expression: Expression): unknown {
    const value = expression.evaluate(this.variables, budgetOf(this.execution));
    if (expression.references.secretNames.length > 0) {
      this.usedSecret = true;
      this.redaction.addDerived(value);
    }
    return value;
  }
}
