/** Are the servers what hitzero needs: versions, durability, room? */
import { OLDEST_POSTGRES_MAJOR } from "../../postgres/connection_errors.ts";
import type { MigrationState, PostgresFacts } from "../../postgres/health.ts";
import type { RedisFacts } from "../../redis/health.ts";
import { type Check, checksOf } from "./check.ts";

const OLDEST_NODE_MAJOR = 20;
/** Parts of Redis's memory limit. */
const [NARROW, FULL] = [0.75, 0.9];

export function nodeChecks(version: string): Check[] {
  const { ok, fail } = checksOf("node");
  return Number.parseInt(version, 10) >= OLDEST_NODE_MAJOR
    ? [ok("version", `Node ${version}`)]
    : [
        fail(
          "version",
          `Node ${version} is too old`,
          `Install Node ${OLDEST_NODE_MAJOR} or newer: https://nodejs.org`,
        ),
      ];
}

export function redisChecks(facts: RedisFacts, address: string): Check[] {
  const { ok, fail } = checksOf("redis");
  const { server, appendOnly, maxmemoryPolicy } = facts;
  return [
    ok("connection", `${server} at ${address}`),
    appendOnly
      ? ok("appendonly", "appendonly yes")
      : fail(
          "appendonly",
          "appendonly no: a restart of Redis loses every run that is under way",
          "Set `appendonly yes` in redis.conf, and now with: redis-cli CONFIG SET appendonly yes",
        ),
    fsyncCheck(facts),
    maxmemoryPolicy === "noeviction"
      ? ok("maxmemory-policy", "maxmemory-policy noeviction")
      : fail(
          "maxmemory-policy",
          `maxmemory-policy ${maxmemoryPolicy}: Redis may throw away runs that are under way`,
          "Set `maxmemory-policy noeviction` in redis.conf, and now with: redis-cli CONFIG SET maxmemory-policy noeviction",
        ),
    memoryCheck(facts),
  ];
}

function fsyncCheck({ appendFsync, appendOnly }: RedisFacts): Check {
  const { ok, warn, fail } = checksOf("redis");
  if (appendFsync === null) {
    return warn(
      "appendfsync",
      "appendfsync cannot be read: this user may not use CONFIG",
      "Make sure that it is `always` or `everysec`.",
    );
  }
  if (appendFsync === "no") {
    return fail(
      "appendfsync",
      "appendfsync no: a crash of the machine may lose the last half minute",
      "Set `appendfsync everysec` (or `always`) in redis.conf, and now with: redis-cli CONFIG SET appendfsync everysec",
    );
  }
  const loses = appendFsync === "everysec" ? ": a crash of the machine may lose the last second" : "";
  return ok("appendfsync", `appendfsync ${appendFsync}${appendOnly ? loses : " (without effect)"}`);
}

function memoryCheck({ usedMemory, maxMemory }: RedisFacts): Check {
  const { ok, warn, fail } = checksOf("redis");
  if (maxMemory === 0) return ok("memory", `${megabytes(usedMemory)} used, no limit of its own`);
  const share = usedMemory / maxMemory;
  const text = `${megabytes(usedMemory)} of ${megabytes(maxMemory)} used (${Math.round(share * 100)} %)`;
  const hint = "Raise maxmemory, or let workers catch up: what is finished is removed from Redis.";
  if (share >= FULL) return fail("memory", `${text}: soon no run can go on`, hint);
  return share >= NARROW ? warn("memory", text, hint) : ok("memory", text);
}

function megabytes(bytes: number): string {
  return `${(bytes / 1024 / 1024).toFixed(bytes < 10 * 1024 * 1024 ? 1 : 0)} MB`;
}

export function postgresChecks(facts: PostgresFacts, address: string): Check[] {
  const { ok, fail } = checksOf("postgres");
  const { version, fsync, synchronous_commit, standby, read_only } = facts;
  const old = Number.parseInt(version, 10) < OLDEST_POSTGRES_MAJOR;
  return [
    old
      ? fail(
          "version",
          `Postgres ${version} at ${address} is too old`,
          `Use Postgres ${OLDEST_POSTGRES_MAJOR} or newer.`,
        )
      : ok("connection", `Postgres ${version} at ${address}`),
    ...(standby
      ? [fail("role", "it is a standby and takes no writes", "Point HITZERO_DATABASE_URL at the primary.")]
      : []),
    ...(read_only
      ? [
          fail(
            "read_only",
            "default_transaction_read_only on: nothing can be submitted or recorded",
            "Set it to off, for the server, the database or hitzero's user: ALTER ROLE … SET default_transaction_read_only = off",
          ),
        ]
      : []),
    fsync
      ? ok("fsync", "fsync on")
      : fail(
          "fsync",
          "fsync off: a crash of the machine may destroy the whole database",
          "Set `fsync = on` in postgresql.conf and reload.",
        ),
    synchronous_commit === "off"
      ? fail(
          "synchronous_commit",
          "synchronous_commit off: a crash may lose submits that were acknowledged",
          "Set `synchronous_commit = on`, for the server or for hitzero's user: ALTER ROLE … SET synchronous_commit = on",
        )
      : ok("synchronous_commit", `synchronous_commit ${synchronous_commit}`),
  ];
}

export function schemaChecks({ applied, missing, changed, unknown }: MigrationState): Check[] {
  const { ok, fail } = checksOf("schema");
  const faults = [
    ...(missing.length > 0
      ? [
          fail(
            "migrations",
            applied.length === 0 ? "the database has no hitzero tables" : `missing: ${missing.join(", ")}`,
            "Run `npx hitzero migrate`.",
          ),
        ]
      : []),
    ...(unknown.length > 0
      ? [
          fail(
            "migrations",
            `unknown to this release: ${unknown.join(", ")}`,
            "A newer release migrated this database: upgrade hitzero here, too.",
          ),
        ]
      : []),
    ...(changed.length > 0
      ? [
          fail(
            "migrations",
            `applied with another text: ${changed.join(", ")}`,
            "Use the release that migrated this database, or a new database.",
          ),
        ]
      : []),
  ];
  return faults.length > 0 ? faults : [ok("migrations", `up to date (${applied.at(-1) ?? "none"})`)];
}
