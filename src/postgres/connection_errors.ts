/**
 * What went wrong with a Postgres connection, in the words of hitzero's coded errors.
 *
 * Every place that talks to Postgres hands what it caught to `postgresFault`; nothing here ever repeats a password
 * or the text of a query, so the result may be logged and shown.
 */

import { HitzeroError } from "../base/errors.ts";
import { POSTGRES, serverAddress } from "../base/server_url.ts";
import { tlsFault } from "../base/tls_faults.ts";

/** The oldest Postgres whose behaviour is tested. */
export const OLDEST_POSTGRES_MAJOR = 15;

const UNREACHABLE_SYSTEM_CODES = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOENT",
  "ENOTFOUND",
  "EPIPE",
  "ETIMEDOUT",
]);

/** SQLSTATEs of a server that is there but takes no work now: shutting down, starting, crashed, no slots, lost link. */
const UNAVAILABLE_SQLSTATES = new Set(["57P01", "57P02", "57P03", "53300"]);
/** SQLSTATEs of a link that broke; also what poolers say when the server behind them is away. */
const BROKEN_LINK = /^08/;

/** Messages of the `pg` client for a link that was lost or never made; these carry no code. */
const UNREACHABLE_MESSAGE =
  /connection terminated|timeout expired|timeout exceeded when trying to connect|not queryable/i;

/** `host:port/database` of a database URL, without user and password; for messages. */
export function describeDatabase(url: string): string {
  return serverAddress(url, POSTGRES, true);
}

/**
 * Translates anything caught while talking to Postgres into a coded error with exit code 3. A `HitzeroError` is
 * returned as it is.
 *
 * Codes: SERVER_UNREACHABLE, WRONG_PASSWORD, ACCESS_REFUSED, DATABASE_MISSING, PERMISSION_DENIED, READ_ONLY, DISK_FULL, POOLER_REFUSES,
 * TLS_REFUSED, and POSTGRES_FAILED for the rest, which names the SQLSTATE only (Postgres's own message may hold run data; it is the `cause`).
 */
export function postgresFault(error: unknown, url: string): HitzeroError {
  if (error instanceof HitzeroError) return error;
  const where = describeDatabase(url);
  const { code, message } = codeAndMessage(error);
  const coded = (hitzeroCode: string, text: string, hint: string) =>
    new HitzeroError(hitzeroCode, text, { hint, exitCode: 3, cause: error });

  if (code === "28P01" || /client password must be a (non-empty )?string/i.test(message)) {
    return coded(
      "WRONG_PASSWORD",
      `Postgres at ${where} refused the user or password`,
      "Check both in the database URL (HITZERO_DATABASE_URL).",
    );
  }
  if (code === "28000" && /no encryption|SSL off/i.test(message)) {
    return coded(
      "TLS_REFUSED",
      `Postgres at ${where} admits this user over TLS only`,
      "Add ?sslmode=require to the database URL.",
    );
  }
  if (code === "28000") {
    return coded(
      "ACCESS_REFUSED",
      `Postgres at ${where} does not admit this user from this machine`,
      "Check the user in the database URL and the server's pg_hba.conf.",
    );
  }
  if (code === "3D000" || /^no such database/i.test(message)) {
    return coded(
      "DATABASE_MISSING",
      `the database of ${where} does not exist`,
      "Create it with CREATE DATABASE, or correct the name at the end of the database URL.",
    );
  }
  if (code === "42501") {
    // Postgres names the object only: `permission denied for table runs`.
    return coded(
      "PERMISSION_DENIED",
      `the database user lacks a right at ${where}: ${message}`,
      "Run `npx hitzero migrate` as the owner of the database or of schema hitzero, and grant this user the use of both schema and tables.",
    );
  }
  if (code === "25006") {
    return coded(
      "READ_ONLY",
      `Postgres at ${where} takes no writes: it is a standby, or default_transaction_read_only is on`,
      "Point HITZERO_DATABASE_URL at the primary; `show default_transaction_read_only` tells the rest.",
    );
  }
  if (code === "53100") {
    return coded(
      "DISK_FULL",
      `Postgres at ${where} has no room left on its disk`,
      "Make room there: runs that are under way go on by themselves then.",
    );
  }
  if (code === "08P01" && /unsupported startup parameter/i.test(message)) {
    return coded(
      "POOLER_REFUSES",
      `the pooler at ${where} refuses a setting of the connection: ${message}`,
      "Remove it from the database URL, or name it in ignore_startup_parameters of pgbouncer.",
    );
  }
  if (/does not support SSL/i.test(message)) {
    return coded(
      "TLS_REFUSED",
      `Postgres at ${where} does not speak TLS`,
      "Remove sslmode from the database URL, or turn ssl on at the server.",
    );
  }
  const tls = tlsFault(error);
  if (tls) return coded("TLS_REFUSED", `Postgres at ${where} ${tls.what}`, tls.hint);
  if (
    UNREACHABLE_SYSTEM_CODES.has(code) ||
    UNAVAILABLE_SQLSTATES.has(code) ||
    BROKEN_LINK.test(code) ||
    UNREACHABLE_MESSAGE.test(message)
  ) {
    const reason = code ? ` (${code})` : "";
    return coded(
      "SERVER_UNREACHABLE",
      `Postgres at ${where} cannot be reached${reason}`,
      "Start it, or correct host and port in the database URL (HITZERO_DATABASE_URL); `hitzero up` runs one of its own.",
    );
  }
  const reason = code ? ` with SQLSTATE ${code}` : "";
  return coded(
    "POSTGRES_FAILED",
    `Postgres at ${where} failed${reason}`,
    "The server's log has the details; `hitzero doctor` checks the connection.",
  );
}

/** Is this error of a server that cannot be reached now, so that the call may be repeated? It may have taken effect. */
export function isPostgresAway(error: unknown): error is HitzeroError {
  return error instanceof HitzeroError && error.code === "SERVER_UNREACHABLE";
}

/** Code and message of a caught value; of several tried addresses the first one's. */
function codeAndMessage(error: unknown): { code: string; message: string } {
  if (error instanceof AggregateError && error.errors.length > 0) return codeAndMessage(error.errors[0]);
  if (!(error instanceof Error)) return { code: "", message: String(error) };
  const code = "code" in error && typeof error.code === "string" ? error.code : "";
  return { code, message: error.message };
}
