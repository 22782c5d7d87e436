import { describe, expect, it } from "vitest";
import { always, failure, serve } from "./http_support.ts";

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
