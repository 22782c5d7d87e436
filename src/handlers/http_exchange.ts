/**
 * Sends a request and follows redirects. Every connection is new and judged by its address; a kept one would have been judged
 * for whoever opened it.
 */
import { type IncomingMessage, request as plainRequest } from "node:http";
import { request as secureRequest } from "node:https";
import { HitzeroError } from "../base/errors.ts";
import { AttemptError } from "./errors.ts";
import { type AddressPolicy, checkHost, guardedLookup, type Resolver } from "./http_address.ts";
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
/** Faults of a certificate: another attempt meets the same one. */
const CERTIFICATE_FAULT = /CERT|ALTNAME|VERIFY/;

export interface ExchangeOptions {
  policy: AddressPolicy;
  resolver: Resolver;
  signal: AbortSignal;
  followRedirects: boolean;
  /** Is this the status that the author waits for? Then it is an answer, even if it is a redirect. */
  isExpected: (status: number) => boolean;
}

export interface Answer {
  message: IncomingMessage;
  status: number;
  /** Where it came from, after redirects. */
  url: URL;
}

/**
 * Sends the request. The caller reads or destroys the answer's message.
 * @throws AttemptError HTTP_ADDRESS_REFUSED, HTTP_NETWORK, HTTP_REDIRECT, HTTP_URL_INVALID; the signal's reason once aborted
 */
export async function exchange(first: HttpRequest, options: ExchangeOptions): Promise<Answer> {
  let request = first;
  for (let redirects = 0; ; redirects++) {
    const message = await send(request, options);
    const status = message.statusCode ?? 0;
    const { location } = message.headers;
    const isRedirect = REDIRECTS.has(status) && location !== undefined && options.followRedirects;
    if (!isRedirect || options.isExpected(status)) return { message, status, url: request.url };
    message.destroy();
    if (redirects === MAX_REDIRECTS) throw redirectRefused(`there are more than ${MAX_REDIRECTS} redirects`);
    request = redirected(request, status, location);
  }
}

/** What a failed connection is to the workflow. An abort is told by its reason. */
export function networkError(error: unknown, signal: AbortSignal, url: URL): unknown {
  if (signal.aborted) return signal.reason;
  if (error instanceof HitzeroError) return error;
  const { code } = (error ?? {}) as { code?: unknown };
  const reason = typeof code === "string" ? code : "no answer";
  return new AttemptError("HTTP_NETWORK", `${url.host}: the connection failed (${reason})`, {
    hint: "Is the server up and reachable from the worker?",
    retryable: !CERTIFICATE_FAULT.test(reason),
  });
}

async function send(
  request: HttpRequest,
  { policy, resolver, signal }: ExchangeOptions,
): Promise<IncomingMessage> {
  signal.throwIfAborted();
  const { url, method, body } = request;
  checkHost(policy, url.hostname);
  const headers: Record<string, string | number> = {};
  for (const [name, { value }] of request.headers) headers[name] = value;
  if (body !== undefined) headers["content-length"] = body.byteLength;
  const start = url.protocol === "https:" ? secureRequest : plainRequest;
  return new Promise((resolve, reject) => {
    const fail = (error?: unknown) => reject(networkError(error, signal, url));
    const sent = start(url, {
      method,
      headers,
      signal,
      agent: false,
      lookup: guardedLookup(policy, resolver),
    });
    sent.on("response", resolve);
    sent.on("error", fail);
    sent.on("close", () => fail());
    sent.end(body);
  });
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
