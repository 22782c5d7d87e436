/**
 * What went wrong with a connection to Redis, in the words of hitzero's coded errors. Nothing of the URL but host and port,
 * and nothing of the error's own text but its code, is repeated.
 */
import { connect as connectPlain } from "node:net";
import { connect as connectEncrypted } from "node:tls";
import { HitzeroError } from "../base/errors.ts";
import { parseServerUrl, REDIS, serverAddress } from "../base/server_url.ts";
import { tlsFault } from "../base/tls_faults.ts";

/** Host and port of a URL, without user or password. */
export function redisAddress(url: string): string {
  return serverAddress(url, REDIS);
}

/** @throws HitzeroError REDIS_URL_INVALID */
export function checkRedisUrl(text: string): void {
  const { pathname } = parseServerUrl(text, REDIS);
  if (/^\/?\d*$/.test(pathname)) return;
  throw new HitzeroError("REDIS_URL_INVALID", "the Redis URL ends with something else than a number", {
    hint: "After the host and a / stands the number of the database, 0 unless given: redis://HOST:PORT/0.",
  });
}

/** Codes: WRONG_PASSWORD, PERMISSION_DENIED, REDIS_BUSY, TLS_REFUSED, SERVER_UNREACHABLE (exit code 3). */
export function redisFault(error: unknown, url: string): HitzeroError {
  const message = error instanceof Error ? error.message : String(error);
  const where = `Redis at ${redisAddress(url)}`;
  const coded = (code: string, text: string, hint: string) =>
    new HitzeroError(code, text, { hint, exitCode: 3 });
  if (/WRONGPASS|NOAUTH|invalid password|without any password configured/i.test(message)) {
    return coded(
      "WRONG_PASSWORD",
      `${where} refused the user or password`,
      "Correct the user and password in HITZERO_REDIS_URL (redis://user:password@host:port).",
    );
  }
  const denied = /NOPERM.* run the '([\w|]+)' command/i.exec(message)?.[1];
  if (denied) return missingRights(where, [`+${denied}`]);
  if (/\bBUSY /.test(message)) {
    return coded(
      "REDIS_BUSY",
      `${where} runs a script that does not end`,
      "Wait for it, or end it with: redis-cli SCRIPT KILL (hitzero's own scripts take milliseconds).",
    );
  }
  const tls = tlsFault(error);
  if (tls) return coded("TLS_REFUSED", `${where} ${tls.what}`, tls.hint);
  // Of what Redis replied only the word by which it names the fault: LOADING, MASTERDOWN, DENIED.
  const code = (error as { code?: unknown }).code ?? /(?:^|: )([A-Z]{4,})\b/.exec(message)?.[1];
  return coded(
    "SERVER_UNREACHABLE",
    `${where} cannot be reached${typeof code === "string" ? ` (${code})` : ""}`,
    "Start Redis, or set HITZERO_REDIS_URL; `npx hitzero up` starts a local one.",
  );
}

/** What the user of the connection lacks, as rules of ACL SETUSER: `+xadd`, `~pattern` of keys, `&pattern` of channels. */
export function missingRights(where: string, rules: readonly string[]): HitzeroError {
  const named = (mark: string, one: string, many: string, name: (text: string) => string) => {
    const list = rules.filter((rule) => rule.startsWith(mark)).map((rule) => name(rule.slice(1)));
    return list.length === 0 ? [] : [`${list.length === 1 ? one : many} ${list.join(", ")}`];
  };
  const lacks = [
    ...named("+", "command", "commands", (name) => name.replace("|", " ").toUpperCase()),
    ...named("~", "keys", "keys", String),
    ...named("&", "channel", "channels", String),
  ];
  return new HitzeroError("PERMISSION_DENIED", `the user of ${where} has no right to ${lacks.join("; ")}`, {
    hint: `Give it with: ACL SETUSER USER ${rules.map((rule) => `'${rule}'`).join(" ")}`,
    exitCode: 3,
  });
}

/** The same of a connect that failed. Asks the server once more when the two sides may differ about TLS: it does not say so. */
export async function connectFault(error: unknown, url: string): Promise<HitzeroError> {
  const fault = redisFault(error, url);
  if (fault.code !== "SERVER_UNREACHABLE" || !/closed|ECONNRESET|EPIPE|ETIMEDOUT/.test(String(error)))
    return fault;
  const encrypted = new URL(url).protocol === "rediss:";
  if (!(await isOther(url, encrypted))) return fault;
  const [what, hint] = encrypted
    ? [
        "does not speak TLS",
        "Write the URL with redis:// instead of rediss://, or turn TLS on at the server.",
      ]
    : ["speaks TLS only", "Write the URL with rediss:// instead of redis://."];
  return new HitzeroError("TLS_REFUSED", `Redis at ${redisAddress(url)} ${what}`, { hint, exitCode: 3 });
}

const ANSWER_LIMIT_MS = 2_000;

/** Does it answer the other way: without encryption to whoever came with it, and the reverse? */
function isOther(url: string, encrypted: boolean): Promise<boolean> {
  const { hostname, port } = new URL(url);
  const place = {
    host: hostname.replace(/^\[|\]$/g, "") || "localhost",
    port: Number(port || REDIS.defaultPort),
  };
  return new Promise((resolve) => {
    // Nothing is sent over it: that the certificate is not looked at does no harm.
    const socket = encrypted
      ? connectPlain(place)
      : connectEncrypted({ ...place, rejectUnauthorized: false });
    const finish = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(ANSWER_LIMIT_MS, () => finish(false));
    if (encrypted) {
      socket.write("PING\r\n");
      socket.once("data", (reply) => finish(/^[+-]/.test(String(reply))));
    } else socket.once("secureConnect", () => finish(true));
    // A server that asks for a certificate of ours speaks TLS, too.
    socket.once("error", (error) => finish(!encrypted && /alert/i.test(error.message)));
    socket.once("close", () => finish(false));
  });
}
