/**
 * The `http` node: one request per attempt.
 *
 *     config -> secrets -> templates -> request -> connection (address judged) -> [redirects] -> answer -> output | error
 *
 * Secrets live for the attempt only. Whatever leaves it (output, message) has them struck out.
 */
import type { HttpConfig } from "../workflow/http_config.ts";
import { AttemptError } from "./errors.ts";
import { parseAddressPolicy, type Resolver, resolveWithSystem } from "./http_address.ts";
import { excerptOf, headersOf, parseBody, readBody, retryAfterMs } from "./http_answer.ts";
import { type Answer, exchange, networkError } from "./http_exchange.ts";
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
}

export interface HttpOutput {
  status: number;
  /** By name in lower case. */
  headers: Record<string, unknown>;
  body: unknown;
}

const WORKER: HttpSurroundings = { environment: process.env, resolver: resolveWithSystem, now: Date.now };

/** Statuses below 500 after which another attempt may succeed. */
const PASSING_STATUSES: ReadonlySet<number> = new Set([408, 425, 429]);

/**
 * Performs an `http` node.
 * @throws AttemptError or HitzeroError with the codes of docs/errors.md, "Errors of http nodes"; the signal's reason.
 */
export async function callHttp(
  execution: Execution,
  surroundings: HttpSurroundings = WORKER,
): Promise<HttpOutput> {
  const { environment, resolver, now } = surroundings;
  const config = execution.node.config as HttpConfig;
  const policy = parseAddressPolicy(environment.HITZERO_HTTP_ALLOW_PRIVATE);
  const secrets = await resolveSecrets(config.secrets, environment);
  const redaction = new Redaction(Object.values(secrets));
  try {
    const isExpected = (status: number) => isExpectedStatus(config.expect_status, status);
    const answer = await exchange(makeRequest(execution, config, secrets, redaction), {
      policy,
      resolver,
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
  { message, status, url }: Answer,
  config: HttpConfig,
  redaction: Redaction,
  signal: AbortSignal,
): Promise<HttpOutput> {
  const bytes = await readBody(message).catch((error: unknown) => {
    throw networkError(error, signal, url);
  });
  const isEmpty = bytes.length === 0 && config.response === "auto";
  return {
    status,
    headers: headersOf(message.headers, config.include_set_cookie, redaction),
    body: isEmpty ? null : parseBody(bytes, message.headers["content-type"], config.response, redaction),
  };
}

async function unexpectedStatus(
  { message, status, url }: Answer,
  config: HttpConfig,
  redaction: Redaction,
  now: number,
): Promise<AttemptError> {
  const retryable = PASSING_STATUSES.has(status) || status >= 500;
  const excerpt = await excerptOf(message, redaction);
  // The address as the author wrote it: it holds no value of the run.
  const text = `${config.method} ${config.url}: ${url.host} answered ${status}${excerpt === "" ? "" : `: ${excerpt}`}`;
  return new AttemptError("HTTP_STATUS", text, {
    hint: "List the status in expect_status if it is no failure.",
    retryable,
    delayMs: retryable ? retryAfterMs(message.headers["retry-after"], now) : undefined,
  });
}

/** The error as it may be stored. Messages are made without secrets; this is the second lock on that door. */
function withoutSecrets(error: unknown, redaction: Redaction): unknown {
  if (!(error instanceof Error) || redaction.isEmpty) return error;
  for (const part of ["message", "stack"] as const) {
    const text = redaction.text(error[part] ?? "");
    if (text !== (error[part] ?? "")) error[part] = text;
  }
  return error;
}
