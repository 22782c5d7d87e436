import { describe, expect, it } from "vitest";
import { isRetryable } from "../../../src/handlers/errors.ts";
import { always, failure, run, serve, type TestServer } from "./http_support.ts";

const redirectTo = (status: number, location: string) => always(status, "moved", { Location: location });

async function pair(status: number, path = "/there"): Promise<[TestServer, TestServer]> {
  const there = await serve(always(200, "arrived"));
  return [await serve(redirectTo(status, there.url + path)), there];
}

describe("redirects", () => {
  it.each<[number, string, string, string]>([
    [301, "GET", "GET", ""],
    [301, "POST", "GET", ""],
    [302, "POST", "GET", ""],
    [302, "PUT", "PUT", "payload"],
    [303, "PUT", "GET", ""],
    [303, "HEAD", "HEAD", ""],
    [307, "POST", "POST", "payload"],
    [308, "PATCH", "PATCH", "payload"],
  ])("%d after %s leads to %s", async (status, method, then, body) => {
    const [here, there] = await pair(status);
    const hasBody = method !== "GET" && method !== "HEAD";
    await run({ url: here.url, method, ...(hasBody ? { body: "payload" } : {}) });
    expect(there.received).toMatchObject([{ method: then, target: "/there", body }]);
    expect(there.received[0]?.headers["content-type"] === undefined).toBe(body === "");
  });

  it("may be relative", async () => {
    const server = await serve((request, response) =>
      request.url === "/a/b"
        ? redirectTo(302, "../c?d#e")(request, response)
        : always(200)(request, response),
    );
    await run({ url: `${server.url}/a/b` });
    expect(server.received.map(({ target }) => target)).toEqual(["/a/b", "/c?d"]);
  });

  it("keep authorization, cookies and secrets to the origin that they were written for", async () => {
    const headers = {
      Authorization: "Bearer literal",
      Cookie: "session=1",
      "X-Api-Key": "{{ secrets.key }}",
      "X-Trace": "7",
    };
    const options = { environment: { HITZERO_SECRET_KEY: "key-value" } };
    const secrets = { key: "env:HITZERO_SECRET_KEY" };
    const [here, there] = await pair(302);
    await run({ url: here.url, headers, secrets }, options);
    expect(here.received[0]?.headers).toMatchObject({
      authorization: "Bearer literal",
      "x-api-key": "key-value",
    });
    const { headers: kept } = there.received[0] as (typeof there.received)[number];
    expect(kept["x-trace"]).toBe("7");
    for (const name of ["authorization", "cookie", "x-api-key"]) expect(kept).not.toHaveProperty(name);
    const same = await serve((request, response) =>
      request.url === "/" ? redirectTo(302, "/two")(request, response) : always(200)(request, response),
    );
    await run({ url: same.url, headers, secrets }, options);
    expect(same.received[1]?.headers).toMatchObject({
      authorization: "Bearer literal",
      "x-api-key": "key-value",
    });
  });

  it("do not carry a body made with a secret to another origin", async () => {
    const [here, there] = await pair(307);
    const config = {
      url: here.url,
      method: "POST",
      body: { key: "{{ secrets.key }}" },
      secrets: { key: "env:HITZERO_SECRET_KEY" },
    };
    const error = await failure(config, { environment: { HITZERO_SECRET_KEY: "key-value" } });
    expect(error).toMatchObject({ code: "HTTP_REDIRECT", retryable: false });
    expect(there.received).toEqual([]);
  });

  it("are followed five times", async () => {
    const server = await serve((request, response) => {
      const left = Number(request.url?.slice(1));
      return (left === 0 ? always(200) : redirectTo(302, `/${left - 1}`))(request, response);
    });
    expect((await run({ url: `${server.url}/5` })).status).toBe(200);
    expect(await failure({ url: `${server.url}/6` })).toMatchObject({ code: "HTTP_REDIRECT" });
    expect(server.received).toHaveLength(12);
  });

  it("are answers when they are not to be followed", async () => {
    const [here, there] = await pair(302);
    expect((await failure({ url: here.url, follow_redirects: false })).code).toBe("HTTP_STATUS");
    expect(await run({ url: here.url, expect_status: "3xx" })).toMatchObject({ status: 302, body: "moved" });
    expect(there.received).toEqual([]);
    const nowhere = await serve(always(302));
    expect((await failure({ url: nowhere.url })).code).toBe("HTTP_STATUS");
  });

  it.each(["ftp://example.com/", "file:///etc/passwd", "http://", "javascript:alert(1)"])(
    "to %s are refused",
    async (location) => {
      const server = await serve(redirectTo(302, location));
      expect(await failure({ url: server.url })).toMatchObject({ code: "HTTP_URL_INVALID" });
    },
  );

  it.each([
    "http://127.0.0.2:PORT/",
    "http://127.1:PORT/",
    "http://2130706433:PORT/",
    "http://[::1]:PORT/",
    "http://[::ffff:127.0.0.1]:PORT/",
    "http://0.0.0.0:PORT/",
    "http://169.254.169.254/latest/meta-data",
    "http://inner.example:PORT/",
    "//inner.example:PORT/",
  ])("from an allowed host to %s are refused", async (location) => {
    const there = await serve(always(200, "private"), "0.0.0.0");
    const here = await serve(redirectTo(302, location.replace("PORT", String(there.port))));
    const error = await failure(
      { url: `http://outer.example:${here.port}/` },
      { environment: { HITZERO_HTTP_ALLOW_PRIVATE: "outer.example" } },
    );
    expect(error.code).toBe("HTTP_ADDRESS_REFUSED");
    expect(isRetryable(error)).toBe(false);
    expect(here.received).toHaveLength(1);
    expect(there.received).toEqual([]);
  });
});
