/** Sends a request over a connection whose address was judged (http_connections.ts), and follows redirects. */
import type { Readable } from "node:stream";
import type { Dispatcher } from "undici";
import { HitzeroError } from "../base/errors.ts";
import { AttemptError } from "./errors.ts";
import { checkHost } from "./http_address.ts";
import type { JudgedConnections } from "./http_connections.ts";
import { type Header, type HttpRequest, parseUrl } from "./http_request.ts";

const MAX_REDIRECTS = 5;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
const BODY_HEADERS = ["content-type", "content-encoding", "content-language", "content-location"];
/** Never shown to another origin than the one that they were written for. */
const BOUND_TO_ORIGIN: ReadonlySet<string> = new Set([
  "authorization",
  "proxy-authorization",
  "cookie",
  "cookie2",
]);
/** Requests that may be sent again when a kept connection turns out to be closed. */
const REPEATABLE: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]);
const CLOSED = /^(?:UND_ERR_SOCKET|ECONNRESET|EPIPE)$/;
/** The body of a redirect is read up to this size, so that its connection can be kept. */
const MOST_SKIPPED_BYTES = 64 * 1024;
const SINGLE_HEADERS: ReadonlySet<string> = new Set([
  ...[
    "content-type",
    "content-length",
    "etag",
    "expires",
    "last-modified",
    "location",
    "retry-after",
    "server",
    "age",
  ],
]);
/** Faults of a certificate: another attempt meets the same one. */
const CERTIFICATE_FAULT = /CERT|ALTNAME|VERIFY/;

export interface ExchangeOptions {
  connections: JudgedConnections;
  signal: AbortSignal;
  followRedirects: boolean;
  /** Is this the status that the author waits for? Then it is an answer, even if it is a redirect. */
  isExpected: (status: number) => boolean;
}

export interface Answer {
  status: number;
  /** By name in lower case. */
  headers: AnswerHeaders;
  body: Readable;
  /** Where it came from, after redirects. */
  url: URL;
}

export interface AnswerHeaders {
  [name: string]: string | string[];
}

/**
 * Sends the request. The caller reads or destroys the answer's body.
 * @throws AttemptError HTTP_ADDRESS_REFUSED, HTTP_NETWORK, HTTP_REDIRECT, HTTP_URL_INVALID; the signal's reason once aborted
 */
export async function exchange(first: HttpRequest, options: ExchangeOptions): Promise<Answer> {
  let request = first;
  for (let redirects = 0; ; redirects++) {
    const { statusCode: status, headers: given, body } = await send(request, options);
    const headers = readHeaders(given);
    const location = firstOf(headers.location);
    const isRedirect = REDIRECTS.has(status) && location !== undefined && options.followRedirects;
    if (!isRedirect || options.isExpected(status)) return { status, headers, body, url: request.url };
    void body.dump({ limit: MOST_SKIPPED_BYTES }).catch(() => {});
    if (redirects === MAX_REDIRECTS) throw redirectRefused(`there are more than ${MAX_REDIRECTS} redirects`);
    request = redirected(request, status, location);
  }
}

/** What a failed connection is to the workflow. An abort is told by its reason. */
export function networkError(error: unknown, signal: AbortSignal, url: URL): unknown {
  if (signal.aborted) return signal.reason;
  if (error instanceof HitzeroError) return error;
  const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown };
  const isUndicis = typeof code === "string" && code.startsWith("UND_ERR_");
  const reason = isUndicis ? message : typeof code === "string" ? code : "no answer";
  return new AttemptError("HTTP_NETWORK", `${url.host}: the connection failed (${reason})`, {
    hint: "Is the server up and reachable from the worker?",
    retryable: !CERTIFICATE_FAULT.test(String(code)),
  });
}

/** One value of a header that may have come several times. */
export function firstOf(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}

/** As Node has them: cookies are a list; of what describes the answer the first counts; others are joined. */
function readHeaders(given: Dispatcher.ResponseData["headers"]): AnswerHeaders {
  // A server may call a header __proto__.
  const headers: AnswerHeaders = Object.create(null);
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined) continue;
    const list = Array.isArray(value) ? value : [value];
    const one = SINGLE_HEADERS.has(name) ? (list[0] as string) : list.join(", ");
    headers[name] = name === "set-cookie" ? list : one;
  }
  return headers;
}

async function send(
  request: HttpRequest,
  { connections, signal }: ExchangeOptions,
): Promise<Dispatcher.ResponseData> {
  signal.throwIfAborted();
  const { url, method } = request;
  checkHost(connections.policy, url.hostname);
  const before = connections.opened;
  try {
    return await sendOnce(request, connections, signal);
  } catch (error) {
    // The server closed a kept connection while the request was on its way: that says nothing about the server.
    const { code } = error as { code?: unknown };
    const wasKept = connections.opened === before && typeof code === "string" && CLOSED.test(code);
    if (signal.aborted || !wasKept || !REPEATABLE.has(method)) throw networkError(error, signal, url);
  }
  return sendOnce(request, connections, signal).catch((error: unknown) => {
    throw networkError(error, signal, url);
  });
}

async function sendOnce(
  { url, method, headers, body }: HttpRequest,
  connections: JudgedConnections,
  signal: AbortSignal,
): Promise<Dispatcher.ResponseData> {
  const sent = connections.agent.request({
    origin: url.origin,
    path: `${url.pathname}${url.search}`,
    method: method as Dispatcher.HttpMethod,
    headers: Object.fromEntries([...headers].map(([name, { value }]) => [name, value])),
    body: body ?? null,
    signal,
    reset: connections.areMany,
  });
  const answer = await unlessAborted(sent, signal);
  // Who stops reading destroys it, and has no use for what it says then.
  answer.body.on("error", () => {});
  return answer;
}

/** A connection that is still being made does not hear of the signal. */
async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  let stop = () => {};
  const aborted = new Promise<never>((_resolve, reject) => {
    stop = () => reject(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
  });
  // Whichever comes second is nobody's.
  work.catch(() => {});
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

/** The request to which a redirect leads, as the Fetch standard has it. */
function redirected(request: HttpRequest, status: number, location: string): HttpRequest {
  const url = parseUrl(location, "the address of a redirect", request.url);
  url.username = "";
  url.password = "";
  url.hash = "";
  const leavesOrigin = url.origin !== request.url.origin;
  const becomesGet =
    (status === 303 && request.method !== "HEAD" && request.method !== "GET") ||
    ((status === 301 || status === 302) && request.method === "POST");
  const headers = new Map<string, Header>(
    [...request.headers].filter(
      ([name, { secret }]) =>
        !(leavesOrigin && (secret || BOUND_TO_ORIGIN.has(name))) &&
        !(becomesGet && BODY_HEADERS.includes(name)),
    ),
  );
  if (becomesGet) return { method: "GET", url, headers, body: undefined, bodyIsSecret: false };
  if (leavesOrigin && request.bodyIsSecret)
    throw redirectRefused("a body made with a secret is not sent on to another host");
  return { ...request, url, headers };
}

function redirectRefused(message: string): AttemptError {
  return new AttemptError("HTTP_REDIRECT", message, {
    hint: "Name the final address in the config, or expect the redirect's status to handle it yourself.",
    retryable: false,
  });
}
