import fc from "fast-check";
import { expect, test } from "vitest";
import { POSTGRES, parseServerUrl, passwordsIn, REDIS, serverAddress } from "../../../src/base/server_url.ts";
import { presentable } from "../../../src/base/text.ts";
import { reportJson, reportOf, reportText } from "../../../src/cli/shell/report.ts";
import { Terminal } from "../../../src/cli/shell/terminal.ts";
import { postgresFault } from "../../../src/postgres/connection_errors.ts";
import { redisFault } from "../../../src/redis/connection_errors.ts";

test.each([
  ["postgres://u:p@db/x", "db:5432/x"],
  ["postgres://u:p@db:6543/x?sslmode=require", "db:6543/x"],
  ["postgres://u:p@/x?host=/tmp", "/tmp:5432/x"],
  ["postgres://me@srv:p@db/x", "db:5432/x"],
  ["postgres://u:a@b/c@host/x", "the given address"],
  ["postgres://u:1#b@host/x", "the given address"],
  ["postgres://u:1?b@host/x", "the given address"],
  ["postgres://u:1/b@host/x", "the given address"],
  ["nonsense", "the given address"],
])("the address of %s is %s", (url, address) => {
  expect(serverAddress(url, POSTGRES, true)).toBe(address);
});

test("a URL that may mean something else than it should is refused, without a word of it", () => {
  for (const bad of ["redis://u:a@b/c@h", "redis://u:1#b@h", "redis://u:100%@h", "redis://:a/b@h", "x"]) {
    expect(() => parseServerUrl(bad, REDIS), bad).toThrow(
      expect.objectContaining({ code: "REDIS_URL_INVALID" }),
    );
  }
  expect(parseServerUrl("redis://u:a@b%2Fc d@h/0", REDIS).hostname).toBe("h");
});

const separator = fc.constantFrom(
  "@",
  "/",
  "%",
  "#",
  "?",
  " ",
  ":",
  "&",
  "=",
  "%41",
  "+",
  "[",
  "]",
  "é",
  "@@",
  "//",
);
/** Marked, so that no message holds a piece by itself; with a number before it, it may be taken for a port. */
const piece = fc
  .tuple(fc.constantFrom("", "", "1"), fc.constantFrom("QzXy", "Qz7", "Xy"))
  .map((parts) => parts.join(""));
const password = fc
  .array(fc.tuple(piece, separator), { minLength: 1, maxLength: 4 })
  .chain((parts) => piece.map((last) => `${parts.flat().join("")}${last}`));

test("no part of a password is in any message, however it is written", () => {
  const user = fc.constantFrom("", "me", "me@srv");
  const rest = fc.constantFrom("host", "host:1", "host/x", "host:1/x?a=b", "[::1]/0", "");
  const kind = fc.constantFrom(POSTGRES, REDIS);
  fc.assert(
    fc.property(kind, user, password, rest, (server, name, secret, place) => {
      const url = `${server.schemes[0]}://${name}:${secret}@${place}`;
      const fault = server === REDIS ? redisFault : postgresFault;
      const shown = [serverAddress(url, server, true)];
      try {
        parseServerUrl(url, server);
      } catch (error) {
        shown.push(everythingOf(error, url));
      }
      for (const word of ["ECONNREFUSED", "WRONGPASS", "self-signed certificate", "whatever"])
        shown.push(everythingOf(fault(new Error(`${word}: of ${url}`), url), url));
      shown.push(everythingOf(new Error(`cannot use ${url}, password ${secret}`), url));
      if (!/\s/.test(url)) shown.push(presentable(`cannot use ${url} at all`));
      expect(shown.find((text) => /Qz|Xy/.test(text))).toBeUndefined();
    }),
    { numRuns: 300 },
  );
});

function everythingOf(error: unknown, url: string): string {
  const report = reportOf(error, passwordsIn(url));
  const colors = new Terminal(true).remarkColors;
  return `${reportText(report, colors, true)}${JSON.stringify(reportJson(report))}`;
}
