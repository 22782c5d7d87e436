/** Logs: JSON lines on stderr. They carry ids and codes, never inputs, outputs or secrets. */
import { pino } from "pino";

export type Log = Pick<pino.Logger, "debug" | "info" | "warn" | "error">;

export const LOG_LEVELS = ["debug", "info", "warn", "error", "silent"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** A logger whose lines carry `bindings`. */
export function createLog(level: LogLevel, bindings: Record<string, unknown> = {}): pino.Logger {
  return pino(
    {
      level,
      base: bindings,
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: {
        paths: ["*.password", "*.authorization", "*.headers", "*.secrets", "*.redisUrl", "*.databaseUrl"],
      },
    },
    pino.destination({ dest: 2, sync: true }),
  );
}
