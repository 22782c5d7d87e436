/** Real handshakes that fail, and what is made of their errors. */
import { readFileSync } from "node:fs";
import { type AddressInfo, createServer as createPlainServer, type Server } from "node:net";
import { join } from "node:path";
import { connect, createServer } from "node:tls";
import { expect, test } from "vitest";
import { tlsFault } from "../../../src/base/tls_faults.ts";
import { postgresFault } from "../../../src/postgres/connection_errors.ts";
import { RedisConnection } from "../../../src/redis/connection.ts";
import { redisFault } from "../../../src/redis/connection_errors.ts";

const pem = (name: string) => readFileSync(join(import.meta.dirname, "../../support/tls", `${name}.pem`));

async function listening(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as AddressInfo).port;
}

function serverWith(certificate: string): Server {
  const server = createServer({ key: pem("key"), cert: pem(certificate) });
  server.on("secureConnection", (socket) => socket.on("error", () => {}));
  return server.on("tlsClientError", () => {});
}

/** What a client that trusts `trusted` says of this server. */
async function refusalOf(server: Server, trusted?: string): Promise<Error> {
  const port = await listening(server);
  const ca = trusted === undefined ? {} : { ca: pem(trusted) };
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port, servername: "localhost", ...ca });
    socket.once("error", (error) => {
      server.close();
      resolve(error);
    });
  });
}

test.each([
  ["signed by itself", () => refusalOf(serverWith("self_signed")), "is signed by itself"],
  ["expired", () => refusalOf(serverWith("expired"), "expired"), "has expired"],
  ["of another host", () => refusalOf(serverWith("other_host"), "other_host"), "for another host name"],
  [
    "none at all",
    () => refusalOf(createPlainServer((socket) => socket.on("error", () => {}).end("-ERR what?\r\n"))),
    "does not speak TLS",
  ],
])("a certificate that is %s is named, for Redis and Postgres", async (_what, refusal, words) => {
  const error = await refusal();
  for (const fault of [
    redisFault(error, "rediss://u:secret@h"),
    postgresFault(error, "postgres://u:secret@h/x"),
  ]) {
    expect(fault).toMatchObject({
      code: "TLS_REFUSED",
      exitCode: 3,
      message: expect.stringContaining(words),
    });
    expect(fault.hint).not.toBe("");
  }
});

test("what has nothing to do with TLS stays what it is", () => {
  expect(
    tlsFault(Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" })),
  ).toBeUndefined();
});

test("a server that speaks TLS only, reached without, is named; so is its certificate with", async () => {
  const server = serverWith("self_signed");
  const port = await listening(server);
  await expect(RedisConnection.open(`redis://127.0.0.1:${port}`)).rejects.toMatchObject({
    code: "TLS_REFUSED",
    message: `Redis at 127.0.0.1:${port} speaks TLS only`,
  });
  await expect(RedisConnection.open(`rediss://127.0.0.1:${port}`)).rejects.toMatchObject({
    code: "TLS_REFUSED",
    message: expect.stringContaining("signed by itself"),
  });
  server.close();
});
