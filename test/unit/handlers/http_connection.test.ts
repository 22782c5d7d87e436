import type { Socket } from "node:net";
import { describe, expect, it, onTestFinished } from "vitest";
import { callHttp } from "../../../src/handlers/http.ts";
import { type ConnectionLimits, HttpConnections } from "../../../src/handlers/http_connections.ts";
import { until } from "../../support/until.ts";
import { always, executionOf, failure, serve } from "./http_support.ts";

describe("a connection", () => {
  it("that is refused, cut or garbled fails to be tried again", async () => {
    const gone = await serve(always(200));
    const cut = await serve((request) => request.socket.destroy());
    const half = await serve((_request, response) => {
      response.writeHead(200, { "Content-Length": 100 }).write("half", () => response.destroy());
    });
    const garbled = await serve((request) => request.socket.end("SMTP ready\r\n"));
    const upgraded = await serve((request) =>
      request.socket.end("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
    );
    for (const url of ["http://127.0.0.1:1/", cut.url, half.url, garbled.url, upgraded.url]) {
      const error = await failure({ url });
      expect(error, url).toMatchObject({ code: "HTTP_NETWORK", retryable: true });
    }
    expect((await failure({ url: `https://127.0.0.1:${gone.port}/` })).code).toBe("HTTP_NETWORK");
  });

  it("whose name is unknown fails to be tried again", async () => {
    const resolver = () => Promise.reject(Object.assign(new Error("no"), { code: "ENOTFOUND" }));
    const error = await failure({ url: "http://nowhere.example/" }, { resolver });
    expect(error).toMatchObject({ code: "HTTP_NETWORK", retryable: true });
    expect(error.message).toBe("nowhere.example: the connection failed (ENOTFOUND)");
  });

  it.each(["before", "waiting", "reading", "looking up"])(
    "is given up when the signal is aborted: %s",
    async (when) => {
      const abort = new AbortController();
      const reason = new Error("the node timed out");
      let closed: Promise<void> = Promise.resolve();
      const server = await serve((request, response) => {
        closed = new Promise((resolve) => request.socket.on("close", () => resolve()));
        if (when === "reading")
          response.writeHead(200).write("begun", () => setImmediate(() => abort.abort(reason)));
        else abort.abort(reason);
      });
      if (when === "before") abort.abort(reason);
      const resolver = () => {
        abort.abort(reason);
        return new Promise<never>(() => {});
      };
      const url = when === "looking up" ? "http://slow.example/" : server.url;
      const options = { signal: abort.signal, ...(when === "looking up" ? { resolver } : {}) };
      expect(await failure({ url }, options)).toBe(reason);
      await closed;
    },
  );

  it("ends with the node's timeout", async () => {
    const server = await serve(() => {});
    expect(await failure({ url: server.url }, { signal: AbortSignal.timeout(20) })).toMatchObject({
      name: "TimeoutError",
    });
  });
});

describe("kept connections", () => {
  /** A server that notes its connections. */
  async function listen(answer = always(200, "ok")) {
    const sockets = new Set<Socket>();
    const server = await serve((request, response) => {
      sockets.add(request.socket);
      answer(request, response);
    });
    return { ...server, sockets };
  }

  /** Performs requests with what a worker keeps. */
  function keep(
    limits: Partial<ConnectionLimits> = {},
    resolver = async () => [{ address: "127.0.0.1", family: 4 }],
  ) {
    const connections = new HttpConnections(resolver, limits);
    onTestFinished(() => connections.close());
    const call = (url: string, { allow = "true", ...config }: { allow?: string; method?: string } = {}) =>
      callHttp(executionOf({ url, ...config }), {
        connections,
        environment: { HITZERO_HTTP_ALLOW_PRIVATE: allow },
      });
    return { call, connections };
  }

  it("are few: reused by 30 requests in a row, and no more than the bound for 100 at once", async () => {
    const server = await listen();
    const { call } = keep({ perOrigin: 5 });
    for (let count = 0; count < 30; count++) await call(server.url);
    // The next request may come before the last one has let go of its connection.
    expect(server.sockets.size).toBeLessThanOrEqual(2);
    await Promise.all(Array.from({ length: 100 }, () => call(server.url)));
    expect(server.received).toHaveLength(130);
    expect(server.sockets.size).toBeLessThanOrEqual(5);
  });

  it("serve redirects and failures, too", async () => {
    const server = await listen((request, response) => {
      if (request.url === "/there") response.writeHead(500).end("broken");
      else response.writeHead(302, { Location: "/there" }).end("moved");
    });
    const { call } = keep({ perOrigin: 1 });
    for (let count = 0; count < 3; count++)
      await expect(call(server.url)).rejects.toMatchObject({ code: "HTTP_STATUS" });
    expect(server.received).toHaveLength(6);
    expect(server.sockets.size).toBe(1);
  });

  it("are not those of another policy: what one may reach the other may not", async () => {
    const server = await listen();
    const { call } = keep();
    const url = server.url.replace("127.0.0.1", "inner.example");
    await call(url);
    await expect(call(url, { allow: "" })).rejects.toMatchObject({ code: "HTTP_ADDRESS_REFUSED" });
    await expect(call(url, { allow: "10.0.0.0/8" })).rejects.toMatchObject({ code: "HTTP_ADDRESS_REFUSED" });
    await call(url);
    expect(server.received).toHaveLength(2);
  });

  it("are judged by where they lead, whatever the look-up said when it was judged", async () => {
    const server = await listen();
    let asked = 0;
    const rebinding = {
      get address() {
        asked += 1;
        return asked === 1 ? "8.8.8.8" : "127.0.0.1";
      },
      family: 4,
    };
    const { call } = keep({}, async () => [rebinding]);
    await expect(call(`http://rebinding.example:${server.port}/`, { allow: "" })).rejects.toMatchObject({
      code: "HTTP_ADDRESS_REFUSED",
    });
    expect(asked).toBeGreaterThan(1);
    expect(server.received).toEqual([]);
  });

  it("that the server has closed cost no attempt, unless the request might be taken twice", async () => {
    const seen = new Set<Socket>();
    const server = await listen((request, response) => {
      if (seen.has(request.socket)) return request.socket.destroy();
      seen.add(request.socket);
      return response.end("ok");
    });
    const { call } = keep({ perOrigin: 1 });
    await call(server.url);
    expect((await call(server.url)).status).toBe(200);
    await expect(call(server.url, { method: "POST" })).rejects.toMatchObject({
      code: "HTTP_NETWORK",
      retryable: true,
    });
    const methods = server.received.map(({ method }) => method);
    expect(methods).toEqual(["GET", "GET", "GET", "POST"]);
  });

  it("are closed when idle, when there are many, and with the worker", async () => {
    const server = await listen();
    const closed = () => [...server.sockets].every(({ destroyed }) => destroyed);
    await keep({ idleMs: 1 }).call(server.url);
    await until(closed, "the idle connection is closed");
    await keep({ mostKept: 0 }).call(server.url);
    await until(closed, "a connection too many is closed");
    const { call, connections } = keep();
    await call(server.url);
    expect(closed()).toBe(false);
    await connections.close();
    await until(closed, "the worker's connections are closed");
  });
});
