/** Where the servers are: flags, then environment, then `hitzero.config.json`. The one place that knows the order. */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { z } from "zod";
import { HitzeroError, InvalidInputError } from "../base/errors.ts";

const NAMESPACE = /^[a-z][a-z0-9_-]{0,31}$/;

const file = z.strictObject({
  redis_url: z.string().optional(),
  database_url: z.string().optional(),
  namespace: z.string().optional(),
  handlers: z.string().optional(),
});

export interface SettingsFlags {
  redisUrl?: string | undefined;
  databaseUrl?: string | undefined;
  namespace?: string | undefined;
  handlers?: string | undefined;
}

export interface Settings {
  /** Undefined: nothing names a server. */
  redisUrl?: string;
  databaseUrl?: string;
  /** First part of every key in Redis. One database serves one namespace. */
  namespace: string;
  /** Path of the handler module. */
  handlers?: string;
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
            hint: "Known settings: redis_url, database_url, namespace, handlers.",
          }))
        : [{ code: "BAD_JSON", path: path, message: (error as Error).message, hint: "Write valid JSON." }],
    );
  }
}

/**
 * Resolves the settings.
 * @throws HitzeroError BAD_NAMESPACE, CONFIG_UNREADABLE; InvalidInputError for a bad `hitzero.config.json`
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
  if (!NAMESPACE.test(namespace)) {
    throw new HitzeroError("BAD_NAMESPACE", "the namespace is not a short lower-case name", {
      hint: `Use letters, digits, - and _ (${NAMESPACE.source}).`,
    });
  }
  const handlers = first(flags.handlers, environment.HITZERO_HANDLERS, config.handlers);
  return {
    namespace,
    ...(redisUrl === undefined ? {} : { redisUrl }),
    ...(databaseUrl === undefined ? {} : { databaseUrl }),
    ...(handlers === undefined ? {} : { handlers }),
  };
}
