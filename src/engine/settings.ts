/**
 * Where the servers are, and what else a process is told: flags, then environment, then `hitzero.config.json`. The one place that knows
 * the order.
 */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { z } from "zod";
import { HitzeroError, InvalidInputError } from "../base/errors.ts";
import { PERIOD_MS } from "../postgres/periods.ts";
import {
  DRAIN_TIMEOUT_MS,
  LEASE_MS,
  LONGEST_DRAIN_MS,
  LONGEST_LEASE_MS,
  LONGEST_PERIOD_MS,
  LONGEST_UNOFFERED_TIMEOUT_MS,
  MAX_CONCURRENCY,
  SHORTEST_LEASE_MS,
  SHORTEST_PERIOD_MS,
  UNOFFERED_TIMEOUT_MS,
} from "./limits.ts";

const NAMESPACE = /^[a-z][a-z0-9_-]{0,31}$/;

const file = z.strictObject({
  redis_url: z.string().optional(),
  database_url: z.string().optional(),
  namespace: z.string().optional(),
  handlers: z.string().optional(),
  lease_ms: z.number().optional(),
  drain_timeout_ms: z.number().optional(),
  unoffered_timeout_ms: z.number().optional(),
  period_ms: z.number().optional(),
});

export interface SettingsFlags {
  redisUrl?: string | undefined;
  databaseUrl?: string | undefined;
  namespace?: string | undefined;
  handlers?: string | undefined;
  leaseMs?: number | undefined;
  drainTimeoutMs?: number | undefined;
  unofferedTimeoutMs?: number | undefined;
  periodMs?: number | undefined;
}

export interface Settings {
  /** Undefined: nothing names a server. */
  redisUrl?: string;
  databaseUrl?: string;
  /** First part of every key in Redis. One database serves one namespace. */
  namespace: string;
  /** Path of the handler module. */
  handlers?: string;
  /** A worker that is lost keeps its tokens for this long, milliseconds. */
  leaseMs: number;
  /** A worker that stops lets its handlers run on for this long, milliseconds. */
  drainTimeoutMs: number;
  /** A node fails whose function no live worker of its queue has offered for this long, milliseconds. */
  unofferedTimeoutMs: number;
  /** Runs of so long a time have tables of their own in Postgres, milliseconds. */
  periodMs: number;
}

function readConfigFile(path: string): z.infer<typeof file> {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return {};
    throw new HitzeroError("CONFIG_UNREADABLE", `${path} cannot be read`, {
      hint: "Check its permissions.",
      cause: error,
    });
  }
  try {
    return file.parse(JSON.parse(text));
  } catch (error) {
    const issues = error instanceof z.ZodError ? error.issues : [];
    throw new InvalidInputError(
      "hitzero.config.json",
      issues.length > 0
        ? issues.map((issue) => ({
            code: "BAD_CONFIG",
            path: `$.${issue.path.join(".")}`,
            message: issue.message,
            hint: "Known settings: redis_url, database_url, namespace, handlers, lease_ms, drain_timeout_ms, unoffered_timeout_ms, period_ms.",
          }))
        : [{ code: "BAD_JSON", path: path, message: (error as Error).message, hint: "Write valid JSON." }],
    );
  }
}

/** All URLs that name servers, whichever of them wins: what they hold of passwords is to be masked. */
export function serverUrls(
  flags: readonly (string | undefined)[],
  environment: NodeJS.ProcessEnv = process.env,
  folder: string = process.cwd(),
): string[] {
  const { HITZERO_REDIS_URL, REDIS_URL, HITZERO_DATABASE_URL, DATABASE_URL } = environment;
  let config: z.infer<typeof file> = {};
  try {
    config = readConfigFile(resolve(folder, "hitzero.config.json"));
  } catch {
    // Whoever needs the file reports what is wrong with it.
  }
  const urls = [...flags, HITZERO_REDIS_URL, REDIS_URL, HITZERO_DATABASE_URL, DATABASE_URL];
  return [...urls, config.redis_url, config.database_url].filter((url) => url !== undefined);
}

/**
 * Resolves the settings.
 * @throws HitzeroError BAD_NAMESPACE, BAD_SETTING, CONFIG_UNREADABLE; InvalidInputError for a bad `hitzero.config.json`
 */
export function resolveSettings(
  flags: SettingsFlags,
  environment: NodeJS.ProcessEnv = process.env,
  folder: string = process.cwd(),
): Settings {
  const config = readConfigFile(resolve(folder, "hitzero.config.json"));
  const first = (...values: (string | undefined)[]) =>
    values.find((value) => value !== undefined && value !== "");
  const redisUrl = first(
    flags.redisUrl,
    environment.HITZERO_REDIS_URL,
    environment.REDIS_URL,
    config.redis_url,
  );
  const databaseUrl = first(
    flags.databaseUrl,
    environment.HITZERO_DATABASE_URL,
    environment.DATABASE_URL,
    config.database_url,
  );
  const namespace = first(flags.namespace, environment.HITZERO_NAMESPACE, config.namespace) ?? "hitzero";
  checkNamespace(namespace);
  const handlers = first(flags.handlers, environment.HITZERO_HANDLERS, config.handlers);
  const milliseconds = (
    setting: MillisecondSetting,
    flag: number | undefined,
    inFile: number | undefined,
  ) => {
    const text = first(flag?.toString(), environment[setting.variable], inFile?.toString());
    return text === undefined ? setting.standard : millisecondsOf(text, setting);
  };
  return {
    namespace,
    leaseMs: milliseconds(LEASE, flags.leaseMs, config.lease_ms),
    drainTimeoutMs: milliseconds(DRAIN_TIMEOUT, flags.drainTimeoutMs, config.drain_timeout_ms),
    unofferedTimeoutMs: milliseconds(
      UNOFFERED_TIMEOUT,
      flags.unofferedTimeoutMs,
      config.unoffered_timeout_ms,
    ),
    periodMs: milliseconds(PERIOD, flags.periodMs, config.period_ms),
    ...(redisUrl === undefined ? {} : { redisUrl }),
    ...(databaseUrl === undefined ? {} : { databaseUrl }),
    ...(handlers === undefined ? {} : { handlers }),
  };
}

interface Range {
  what: string;
  least: number;
  most: number;
}

interface MillisecondSetting extends Range {
  flag: string;
  variable: string;
  property: string;
  standard: number;
}

const LEASE: MillisecondSetting = {
  what: "the lease",
  flag: "--lease-ms",
  variable: "HITZERO_LEASE_MS",
  property: "lease_ms",
  standard: LEASE_MS,
  least: SHORTEST_LEASE_MS,
  most: LONGEST_LEASE_MS,
};

const DRAIN_TIMEOUT: MillisecondSetting = {
  what: "the time of the drain",
  flag: "--drain-timeout-ms",
  variable: "HITZERO_DRAIN_TIMEOUT_MS",
  property: "drain_timeout_ms",
  standard: DRAIN_TIMEOUT_MS,
  least: 0,
  most: LONGEST_DRAIN_MS,
};

const UNOFFERED_TIMEOUT: MillisecondSetting = {
  what: "the time for which a function may be offered by nobody",
  flag: "--unoffered-timeout-ms",
  variable: "HITZERO_UNOFFERED_TIMEOUT_MS",
  property: "unoffered_timeout_ms",
  standard: UNOFFERED_TIMEOUT_MS,
  least: 1,
  most: LONGEST_UNOFFERED_TIMEOUT_MS,
};

const PERIOD: MillisecondSetting = {
  what: "the time of a period",
  flag: "--period-ms",
  variable: "HITZERO_PERIOD_MS",
  property: "period_ms",
  standard: PERIOD_MS,
  least: SHORTEST_PERIOD_MS,
  most: LONGEST_PERIOD_MS,
};

function millisecondsOf(text: string, setting: MillisecondSetting): number {
  const { flag, variable, property } = setting;
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  checkRange(
    value,
    setting,
    `Set ${flag}, ${variable} or ${property} of hitzero.config.json to milliseconds.`,
  );
  return value;
}

function checkRange(value: unknown, { what, least, most }: Range, hint: string): void {
  if (Number.isInteger(value) && (value as number) >= least && (value as number) <= most) return;
  throw new HitzeroError("BAD_SETTING", `${what} is no whole number from ${least} to ${most}`, { hint });
}

function checkNamespace(namespace: string): void {
  if (typeof namespace === "string" && NAMESPACE.test(namespace)) return;
  throw new HitzeroError("BAD_NAMESPACE", "the namespace is not a short lower-case name", {
    hint: `Use letters, digits, - and _ (${NAMESPACE.source}).`,
  });
}

const CONCURRENCY: Range = { what: "the concurrency", least: 1, most: MAX_CONCURRENCY };

/** What a program says in place of flags is held to the same bounds. @throws HitzeroError BAD_NAMESPACE, BAD_SETTING */
export function checkOptions(
  options: Partial<
    Pick<Settings, "namespace" | "leaseMs" | "drainTimeoutMs" | "unofferedTimeoutMs" | "periodMs">
  > & {
    concurrency?: number;
  },
): void {
  if (options.namespace !== undefined) checkNamespace(options.namespace);
  const ranges = {
    leaseMs: LEASE,
    drainTimeoutMs: DRAIN_TIMEOUT,
    unofferedTimeoutMs: UNOFFERED_TIMEOUT,
    periodMs: PERIOD,
    concurrency: CONCURRENCY,
  } as const;
  for (const [name, range] of Object.entries(ranges)) {
    const value = options[name as keyof typeof ranges];
    if (value !== undefined) checkRange(value, range, `Correct the option ${name}, or leave it out.`);
  }
}
