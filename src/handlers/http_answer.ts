/** Reads an answer: within its limit while it arrives, then unpacked, decoded and parsed. */
import type { Readable } from "node:stream";
import { promisify } from "node:util";
import { brotliDecompress, constants, gunzip, inflate, inflateRaw } from "node:zlib";
import type { HttpConfig } from "../workflow/file/http_config.ts";
import { findJsonFlaw } from "../workflow/file/json_scan.ts";
import { AttemptError } from "./errors.ts";
import { type Answer, type AnswerHeaders, firstOf } from "./http_exchange.ts";
import { MAX_BODY_BYTES, tooLarge } from "./http_request.ts";
import type { Redaction } from "./secrets.ts";

/** Of a body that only serves to explain an error, this much is read and shown. */
const EXPLANATION_BYTES = 64 * 1024;
const EXCERPT_LENGTH = 300;
/** A server that asks for more is asked again after this time. */
const MAX_RETRY_AFTER_MS = 3_600_000;
/** The one form of date that RFC 9110 lets servers write. */
const HTTP_DATE = /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/;

const JSON_TYPE = /^(?:application|text)\/json$|\+json$/;
const TEXT_TYPE =
  /^text\/|(?:json|jsonl|xml|yaml|toml|csv|javascript|ecmascript|x-www-form-urlencoded|graphql|sql)$/;

/**
 * The answer's body as bytes, unpacked.
 * @throws AttemptError OUTPUT_TOO_LARGE, HTTP_BODY_INVALID (not packed as it says); what the connection throws
 */
export async function readBody({ headers, body }: Answer): Promise<Buffer> {
  if (Number(headers["content-length"] ?? 0) > MAX_BODY_BYTES) {
    body.destroy();
    throw tooLarge("the answer");
  }
  const { bytes, isWhole } = await collect(body, MAX_BODY_BYTES);
  if (!isWhole) throw tooLarge("the answer");
  return unpack(bytes, firstOf(headers["content-encoding"]), true);
}

/** The body in the form that `response` asks for. `auto`: JSON if it says so, text if it is text, else Base64. */
export function parseBody(
  bytes: Buffer,
  contentType: string | undefined,
  response: HttpConfig["response"],
  redaction: Redaction,
): unknown {
  const type = (contentType ?? "").split(";")[0]?.trim().toLowerCase() ?? "";
  if (response === "json" || (response === "auto" && JSON_TYPE.test(type))) {
    return bytes.length === 0 ? null : redaction.json(parseJson(decode(bytes, contentType)));
  }
  if (response === "text" || (response === "auto" && (type === "" || TEXT_TYPE.test(type)))) {
    // Postgres cannot store NUL.
    return redaction.text(decode(bytes, contentType).replaceAll("\u0000", "\ufffd"));
  }
  if (redaction.isEmpty) return bytes.toString("base64");
  return Buffer.from(redaction.text(bytes.toString("latin1")), "latin1").toString("base64");
}

/** The first words of a body, for an error's message. */
export async function excerptOf({ headers, body }: Answer, redaction: Redaction): Promise<string> {
  try {
    const { bytes, isWhole } = await collect(body, EXPLANATION_BYTES);
    const unpacked = await unpack(bytes, firstOf(headers["content-encoding"]), isWhole);
    const struck = redaction.text(decode(unpacked, firstOf(headers["content-type"])));
    // A secret that the end cuts in two was not found: nothing is shown of where it may begin.
    const text = isWhole ? struck : struck.slice(0, Math.max(0, struck.length - redaction.longest));
    const line = text.replaceAll(/[\s\p{Cc}]+/gu, " ").trim();
    return line.length > EXCERPT_LENGTH ? `${line.slice(0, EXCERPT_LENGTH)}…` : line;
  } catch {
    return "";
  }
}

/** The answer's headers, in lower case. */
export function headersOf(
  headers: AnswerHeaders,
  includeSetCookie: boolean,
  redaction: Redaction,
): Record<string, unknown> {
  const kept = Object.entries(headers).filter(([name]) => includeSetCookie || name !== "set-cookie");
  return Object.fromEntries(kept.map(([name, value]) => [redaction.text(name), redaction.json(value)]));
}

/** The delay that an answer's Retry-After asks for, ms; undefined: none that lies ahead. */
export function retryAfterMs(header: string | undefined, now: number): number | undefined {
  const text = header?.trim() ?? "";
  const delay = /^\d+$/.test(text) ? Number(text) * 1_000 : HTTP_DATE.test(text) ? Date.parse(text) - now : 0;
  return delay > 0 ? Math.min(delay, MAX_RETRY_AFTER_MS) : undefined;
}

/** Reads up to `limit` bytes; when there are more, the connection is closed. */
async function collect(body: Readable, limit: number): Promise<{ bytes: Buffer; isWhole: boolean }> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    size += chunk.length;
    // Leaving the loop destroys the body.
    if (size > limit) return { bytes: Buffer.concat(chunks).subarray(0, limit), isWhole: false };
  }
  return { bytes: Buffer.concat(chunks), isWhole: true };
}

const gunzipAll = promisify(gunzip);
const inflateAll = promisify(inflate);
const inflateRawAll = promisify(inflateRaw);
const unbrotliAll = promisify(brotliDecompress);

/** @param isWhole else what there is of it is unpacked */
async function unpack(bytes: Buffer, encodings: string | undefined, isWhole: boolean): Promise<Buffer> {
  let unpacked = bytes;
  const names = (encodings ?? "").split(",").map((name) => name.trim().toLowerCase());
  for (const name of names.reverse()) {
    if (name === "" || name === "identity" || unpacked.length === 0) continue;
    unpacked = await unpackOne(unpacked, name, isWhole);
  }
  return unpacked;
}

async function unpackOne(bytes: Buffer, encoding: string, isWhole: boolean): Promise<Buffer> {
  const finishFlush = isWhole ? constants.Z_FINISH : constants.Z_SYNC_FLUSH;
  const options = { maxOutputLength: MAX_BODY_BYTES, finishFlush };
  try {
    if (encoding === "gzip" || encoding === "x-gzip") return await gunzipAll(bytes, options);
    // Many servers leave out the wrapper that the standard asks for.
    if (encoding === "deflate")
      return await ((bytes[0] ?? 0) % 16 === 8 ? inflateAll : inflateRawAll)(bytes, options);
    if (encoding === "br") return await unbrotliAll(bytes, { maxOutputLength: MAX_BODY_BYTES });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE") throw tooLarge("the answer");
    throw bodyInvalid(`the answer is not packed as ${encoding}, as it says`);
  }
  throw bodyInvalid("the answer is packed in a way that is not known here");
}

function decode(bytes: Buffer, contentType: string | undefined): string {
  const charset = /;\s*charset\s*=\s*"?([^\s";]+)/i.exec(contentType ?? "")?.[1] ?? "utf-8";
  try {
    return new TextDecoder(charset).decode(bytes);
  } catch {
    return new TextDecoder().decode(bytes);
  }
}

function parseJson(text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw bodyInvalid("the answer says that it is JSON and is not");
  }
  const flaw = findJsonFlaw(text);
  if (flaw) throw bodyInvalid(`the answer cannot be kept as it is: ${flaw.path} ${flaw.message}`);
  return value;
}

function bodyInvalid(message: string): AttemptError {
  return new AttemptError("HTTP_BODY_INVALID", message, {
    hint: 'Set response to "text" or "base64" to take it as it is.',
    retryable: false,
  });
}
