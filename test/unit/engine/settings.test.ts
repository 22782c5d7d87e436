import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { resolveSettings } from "../../../src/engine/settings.ts";

const folders: string[] = [];
afterEach(() => {
  for (const path of folders.splice(0)) rmSync(path, { recursive: true });
});

function folder(config?: string): string {
  const path = mkdtempSync(join(tmpdir(), "hitzero-settings-"));
  folders.push(path);
  if (config !== undefined) writeFileSync(join(path, "hitzero.config.json"), config);
  return path;
}

test("flags win over the environment, that over hitzero.config.json", () => {
  const config = folder(
    '{"redis_url": "redis://file", "database_url": "postgres://file", "namespace": "from-file"}',
  );
  const environment = {
    REDIS_URL: "redis://fallback",
    HITZERO_REDIS_URL: "redis://environment",
    DATABASE_URL: "postgres://fallback",
  };
  expect(resolveSettings({ redisUrl: "redis://flag" }, environment, config)).toMatchObject({
    redisUrl: "redis://flag",
    databaseUrl: "postgres://fallback",
    namespace: "from-file",
  });
  expect(resolveSettings({}, environment, config).redisUrl).toBe("redis://environment");
  expect(resolveSettings({}, {}, config).redisUrl).toBe("redis://file");
});

test("the lease, too: flag, environment, hitzero.config.json", () => {
  const config = folder('{"lease_ms": 3000}');
  expect(resolveSettings({}, {}, config).leaseMs).toBe(3_000);
  expect(resolveSettings({}, { HITZERO_LEASE_MS: "2000" }, config).leaseMs).toBe(2_000);
  expect(resolveSettings({ leaseMs: 1_000 }, { HITZERO_LEASE_MS: "2000" }, config).leaseMs).toBe(1_000);
});

test("the time of the drain, too; 0 is a time", () => {
  const config = folder('{"drain_timeout_ms": 3000}');
  expect(resolveSettings({}, {}, config).drainTimeoutMs).toBe(3_000);
  expect(resolveSettings({}, { HITZERO_DRAIN_TIMEOUT_MS: "0" }, config).drainTimeoutMs).toBe(0);
  expect(
    resolveSettings({ drainTimeoutMs: 5 }, { HITZERO_DRAIN_TIMEOUT_MS: "0" }, config).drainTimeoutMs,
  ).toBe(5);
  expect(() => resolveSettings({}, { HITZERO_DRAIN_TIMEOUT_MS: "30s" }, config)).toThrow(/time of the drain/);
});

test("and how long a node waits for its function", () => {
  const config = folder('{"unoffered_timeout_ms": 3000}');
  expect(resolveSettings({}, {}, config).unofferedTimeoutMs).toBe(3_000);
  const environment = { HITZERO_UNOFFERED_TIMEOUT_MS: "2000" };
  expect(resolveSettings({}, environment, config).unofferedTimeoutMs).toBe(2_000);
  expect(resolveSettings({ unofferedTimeoutMs: 1_000 }, environment, config).unofferedTimeoutMs).toBe(1_000);
  expect(() => resolveSettings({}, { HITZERO_UNOFFERED_TIMEOUT_MS: "0" }, config)).toThrow(
    expect.objectContaining({ hint: expect.stringContaining("--unoffered-timeout-ms") }),
  );
});

test("and the time of a period", () => {
  const config = folder('{"period_ms": 180000}');
  expect(resolveSettings({}, {}, config).periodMs).toBe(180_000);
  expect(resolveSettings({}, { HITZERO_PERIOD_MS: "120000" }, config).periodMs).toBe(120_000);
  expect(resolveSettings({ periodMs: 60_000 }, { HITZERO_PERIOD_MS: "120000" }, config).periodMs).toBe(
    60_000,
  );
  expect(() => resolveSettings({}, { HITZERO_PERIOD_MS: "59999" }, config)).toThrow(
    expect.objectContaining({ hint: expect.stringContaining("--period-ms") }),
  );
});

test.each(["forever", "99", "600001", "1e3", "-5"])("a lease of %s is refused", (text) => {
  expect(() => resolveSettings({}, { HITZERO_LEASE_MS: text }, folder())).toThrow(
    expect.objectContaining({ code: "BAD_SETTING", hint: expect.stringContaining("HITZERO_LEASE_MS") }),
  );
});

test("without any there is the default namespace and no server", () => {
  expect(resolveSettings({}, {}, folder())).toEqual({
    namespace: "hitzero",
    leaseMs: 10_000,
    drainTimeoutMs: 25_000,
    unofferedTimeoutMs: 900_000,
    periodMs: 604_800_000,
  });
});

test.each([
  ["{", "BAD_JSON"],
  ['{"redis": "x"}', "BAD_CONFIG"],
  ['{"namespace": 1}', "BAD_CONFIG"],
  ['{"lease_ms": "1000"}', "BAD_CONFIG"],
])("%s in hitzero.config.json is refused with its place", (text, code) => {
  expect(() => resolveSettings({}, {}, folder(text))).toThrow(
    expect.objectContaining({ faults: [expect.objectContaining({ code })] }),
  );
});

test.each(["", "Upper", "a b", "{a}", "x".repeat(33)].filter(Boolean))(
  "namespace %j is refused",
  (namespace) => {
    expect(() => resolveSettings({ namespace }, {}, folder())).toThrow(
      expect.objectContaining({ code: "BAD_NAMESPACE" }),
    );
  },
);
