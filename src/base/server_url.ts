/**
 * URLs of servers, and what may be shown of them.
 *
 * A password that was not percent-encoded breaks a URL in two ways: it does not parse, or it parses as something else
 * (`postgres://u:a@b/c@host/x` has host `b` and database `c@host/x`). Both are refused where the URL comes in, and nothing of
 * such a URL is ever shown: what looks like a host may be a piece of the password.
 */
import { HitzeroError } from "./errors.ts";

export interface ServerKind {
  /** Of the error: `REDIS_URL_INVALID`. */
  code: string;
  /** `Redis`, for messages. */
  name: string;
  /** Without colon; the first one is the usual one. */
  schemes: readonly string[];
  defaultPort: string;
  /** How the URL is written. */
  form: string;
}

export const REDIS: ServerKind = {
  code: "REDIS_URL_INVALID",
  name: "Redis",
  schemes: ["redis", "rediss"],
  defaultPort: "6379",
  form: "redis://USER:PASSWORD@HOST:PORT/NUMBER",
};

export const POSTGRES: ServerKind = {
  code: "DATABASE_URL_INVALID",
  name: "database",
  schemes: ["postgres", "postgresql"],
  defaultPort: "5432",
  form: "postgres://USER:PASSWORD@HOST:PORT/DATABASE",
};

const ENCODING =
  "Percent-encode special characters of user and password: @ is %40, / %2F, : %3A, # %23, ? %3F, % %25, a space %20.";

/** @throws HitzeroError REDIS_URL_INVALID, DATABASE_URL_INVALID (exit code 2), which show nothing of the URL */
export function parseServerUrl(text: string, kind: ServerKind): URL {
  const url = parsed(text);
  const scheme = /^([a-z]+):\/\//i.exec(text)?.[1]?.toLowerCase() ?? "";
  if (!kind.schemes.includes(scheme)) {
    throw invalid(kind, `does not start with ${kind.schemes.map((known) => `${known}://`).join(" or ")}`);
  }
  if (!url) throw invalid(kind, "does not parse");
  if (!isPlain(url)) throw invalid(kind, "holds an @ or a % that is not percent-encoded");
  return url;
}

function invalid(kind: ServerKind, what: string): HitzeroError {
  return new HitzeroError(kind.code, `the ${kind.name} URL ${what}`, {
    hint: `Write it as ${kind.form}. ${ENCODING}`,
  });
}

function parsed(text: string): URL | undefined {
  // A socket's folder stands in the query, and before it nothing: postgres://user:password@/database?host=/tmp
  const whole = text.replace(/^(\w+:\/\/[^/?#]*@)(?=\/)/, "$1localhost");
  return URL.canParse(whole) ? new URL(whole) : undefined;
}

/** Is it sure where user and password end? */
function isPlain({ username, password, pathname, search, hash }: URL): boolean {
  if (`${pathname}${search}${hash}`.includes("@") || hash !== "") return false;
  return [username, password].every((part) => decoded(part) !== undefined);
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

/** `host:port` and, with `path`, `/database`, without user and password. */
export function serverAddress(text: string, kind: ServerKind, path = false): string {
  const url = parsed(text);
  if (!url || !isPlain(url)) return "the given address";
  const host = url.searchParams.get("host") || decoded(url.hostname) || "localhost";
  const port = url.port || url.searchParams.get("port") || kind.defaultPort;
  return `${host}:${port}${path && url.pathname !== "/" ? url.pathname : ""}`;
}

/** All spellings of the password that a URL may hold, to be masked wherever they would be printed. */
export function passwordsIn(text: string): string[] {
  const inAuthority = /^\w+:\/\/[^:]*?:(.*)@/s.exec(text)?.[1];
  const inQuery = [...text.matchAll(/[?&]password=([^&#]*)/g)].map((match) => match[1]);
  return [inAuthority, ...inQuery].flatMap((raw) => {
    if (!raw) return [];
    return [...new Set([raw, decoded(raw) ?? raw, encodeURIComponent(decoded(raw) ?? raw)])];
  });
}
