/**
 * The `http` node: one request per attempt.
 *
 *     config -> secrets -> templates -> request -> connection (address judged) -> [redirects] -> answer -> output | error
 *
 * Secrets live for the attempt only. Whatever leaves it (output, message) has them struck out.
 */
import type { HttpConfig } from "../workflow/file/http_config.ts";
import { AttemptError } from "./errors.ts";
import { type Resolver, resolveWithSystem } from "./http_address.ts";
import { excerptOf, headersOf, parseBody, readBody, retryAfterMs } from "./http_answer.ts";
import { HttpConnections } from "./http_connections.ts";
import { type Answer, exchange, firstOf, networkError } from "./http_exchange.ts";
import { makeRequest } from "./http_request.ts";
import { Redaction, resolveSecrets } from "./secrets.ts";
import type { Execution } from "./types.ts";

/** What the worker gives. */
export interface HttpSurroundings {
  /** Holds HITZERO_HTTP_ALLOW_PRIVATE, HITZERO_SECRETS_ALLOW and the secrets. */
  environment: NodeJS.ProcessEnv;
  resolver: Resolver;
  /** Milliseconds since 1970. */
  now: () => number;
  /** Absent: those of this request alone. */
  connections?: HttpConnections;
}

export interface HttpOutput {
  status: number;
  /** By name in lower case. */
  headers: Record<string, unknown>;
  body: unknown;
}

/** What all workers of this process have in common. */
const PROCESS: HttpSurroundings = { environment: process.env, resolver: resolveWithSystem, now: Date.now };

/** Connections for a worker to keep. */
export const keepConnections = () => new HttpConnections(PROCESS.resolver);

/** Statuses below 500 after which another attempt may succeed. */
const PASSING_STATUSES: ReadonlySet<number> = new Set([408, 425, 429]);

/**
 * Performs an `http` node.
 * @throws AttemptError or HitzeroError with the codes of docs/errors.md, "Errors of http nodes"; the signal's reason.
 */
export async function callHttp(
  execution: Execution,
  surroundings: Partial<HttpSurroundings> = {},
): Promise<HttpOutput> {
  const { connections, ...given } = { ...PROCESS, ...surroundings };
  if (connections) return call(execution, { ...given, connections });
  const own = new HttpConnections(given.resolver);
  return call(execution, { ...given, connections: own }).finally(() => own.close());
}

async function call(
  execution: Execution,
  { environment, now, connections }: Required<HttpSurroundings>,
): Promise<HttpOutput> {
  const config = execution.node.config as HttpConfig;
  const allowed = await connections.allowedBy(environment.HITZERO_HTTP_ALLOW_PRIVATE);
  const secrets = await resolveSecrets(config.secrets, environment);
  const redaction = new Redaction(Object.values(secrets));
  try {
    const isExpected = (status: number) => isExpectedStatus(config.expect_status, status);
    const answer = await exchange(makeRequest(execution, config, secrets, redaction), {
      connections: allowed,
      signal: execution.signal,
      followRedirects: config.follow_redirects,
      isExpected,
    });
    if (!isExpected(answer.status)) throw await unexpectedStatus(answer, config, redaction, now());
    return await outputOf(answer, config, redaction, execution.signal);
  } catch (error) {
    throw withoutSecrets(error, redaction);
  }
}

/** Does a status match what `expect_status` lists: numbers, classes ("2xx") and ranges ("200-204")? */
function isExpectedStatus(expected: HttpConfig["expect_status"], status: number): boolean {
  return (Array.isArray(expected) ? expected : [expected]).some((entry) => {
    if (typeof entry === "number") return status === entry;
    const [first, last] = entry.split("-").map(Number) as [number, number?];
    return last === undefined ? entry[0] === String(status)[0] : first <= status && status <= last;
  });
}

async function outputOf(
  answer: Answer,
  config: HttpConfig,
  redaction: Redaction,
  signal: AbortSignal,
): Promise<HttpOutput> {
  const { status, headers, url } = answer;
  const bytes = await readBody(answer).catch((error: unknown) => {
    throw networkError(error, signal, url);
  });
  const isEmpty = bytes.length === 0 && config.response === "auto";
  return {
    status,
    headers: headersOf(headers, config.include_set_cookie, redaction),
    body: isEmpty ? null : parseBody(bytes, firstOf(headers["content-type"]), config.response, redaction),
  };
}

async function unexpectedStatus(
  answer: Answer,
  config: HttpConfig,
  redaction: Redaction,
  now: number,
): Promise<AttemptError> {
  const { status, headers, url } = answer;
  const retryable = PASSING_STATUSES.has(status) || status >= 500;
  const excerpt = await excerptOf(answer, redaction);
  // The address as the author wrote it: it holds no value of the run.
  const text = `${config.method} ${config.url}: ${url.host} answered ${status}${excerpt === "" ? "" : `: ${excerpt}`}`;
  return new AttemptError("HTTP_STATUS", text, {
    hint: "List the status in expect_status if it is no failure.",
    retryable,
    delayMs: retryable ? retryAfterMs(firstOf(headers["retry-after"]), now) : undefined,
  });
}

/** The error as it may be stored. Messages are made without secrets; this is the second lock on that door. */
function withoutSecrets(error: unknown, redaction: Redaction): unknown {
  if (!(error instanceof Error) || redaction.isEmpty) return error;
  for (const part of ["message", "stack"] as const) {
    const text = redaction.text(error[part] ?? "");
    // Of some errors, a DOMException for one, it is a getter.
    if (text !== (error[part] ?? "")) Object.defineProperty(error, part, { value: text, configurable: true });
  }
  return error;
}
