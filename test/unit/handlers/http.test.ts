import { randomBytes } from "node:crypto";
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { MAX_OUTPUT_BYTES } from "../../../src/engine/limits.ts";
import { isRetryable, requestedDelayMs } from "../../../src/handlers/errors.ts";
import { MAX_BODY_BYTES } from "../../../src/handlers/http_request.ts";
import { always, failure, type Received, type RunOptions, run, serve } from "./http_support.ts";

/** What a server receives of a node. */
async function sent(config: (url: string) => object, options: RunOptions = {}): Promise<Received> {
  const server = await serve(always(200));
  await run(config(server.url), options);
  return server.received[0] as Received;
}

describe("the address", () => {
  it.each<[string, RunOptions, string]>([
    ["/plain?a=1#part", {}, "/plain?a=1"],
    ["/{{ data.id }}", { data: { id: 7 } }, "/7"],
    [
      "/{{ data.id }}/{{ vars.kind }}",
      { data: { id: "a/b?c#d&e=f" }, vars: { kind: "ä %" } },
      "/a%2Fb%3Fc%23d%26e%3Df/%C3%A4%20%25",
    ],
    [
      "/{{ input.x }}",
      { input: { x: "{{ vars.secret }}" }, vars: { secret: "leaked" } },
      "/%7B%7B%20vars.secret%20%7D%7D",
    ],
    ['/{{ nodes["before"].output.id }}', { before: { id: true } }, "/true"],
    ["/?q={{ data }}", { data: "../.." }, "/?q=..%2F.."],
    ["/a.{{ data }}", { data: ".." }, "/a..."],
    ["/{{ data }}", { data: "../x" }, "/..%2Fx"],
    ["/{{ data }}", { data: "%2e%2e" }, "/%252e%252e"],
  ])("%s with %j", async (path, options, expected) => {
    expect((await sent((url) => ({ url: url + path }), options)).target).toBe(expected);
  });

  it("may be one template, or begin with one, which is taken as it is", async () => {
    const server = await serve(always(200));
    const data = { all: `${server.url}/a?b=c%20d`, base: server.url };
    await run({ url: "{{ data.all }}" }, { data });
    await run({ url: "{{ data.base }}/x/{{ data.base }}" }, { data });
    expect(server.received.map(({ target }) => target)).toEqual([
      "/a?b=c%20d",
      `/x/${encodeURIComponent(server.url)}`,
    ]);
  });

  it.each<[string, unknown]>([
    ["http://127.0.0.1/a/{{ data }}", ".."],
    ["http://127.0.0.1/a/{{ data }}/b", "."],
    ["http://127.0.0.1/a/{{ data }}{{ data }}?x", "."],
    ["{{ data }}", "ftp://example.com/"],
    ["{{ data }}", "file:///etc/passwd"],
    ["{{ data }}", "/only/a/path"],
    ["{{ data }}", ""],
    ["https://{{ data }}/", "evil.example/"],
    ["https://{{ data }}/", "user@evil.example"],
    ["https://{{ data }}.example/", "evil.test#"],
    ["{{ data }}x", "https://example.com/"],
  ])("%s with %j is refused", async (url, data) => {
    const error = await failure({ url }, { data });
    expect(error).toMatchObject({ code: "HTTP_URL_INVALID", retryable: false });
  });

  it.each([null, [1], { a: 1 }])("has no place for %j", async (data) => {
    expect(await failure({ url: "http://127.0.0.1/{{ data }}" }, { data })).toMatchObject({
      code: "HTTP_TEMPLATE_VALUE",
      message: expect.stringContaining('url of node "call"'),
    });
  });

  it("takes the query after its own, encoded, repeated for lists, without nulls", async () => {
    const query = {
      text: "a b&c=d",
      number: 1,
      bool: false,
      "ke y": "{{ data.id }}",
      list: "{{ data.list }}",
      nothing: "{{ data.nothing }}",
      mixed: "<{{ data.id }}>",
      fixed: [1, "{{ data.id }}"],
    };
    const data = { id: "x+y", list: ["1", 2], nothing: null };
    expect((await sent((url) => ({ url: `${url}/?own=1`, query }), { data })).target).toBe(
      "/?own=1&text=a%20b%26c%3Dd&number=1&bool=false&ke%20y=x%2By&list=1&list=2&mixed=%3Cx%2By%3E&fixed=1&fixed=x%2By",
    );
    expect(await failure({ url: "http://127.0.0.1/", query: { a: "{{ data }}" } }, { data })).toMatchObject({
      code: "HTTP_TEMPLATE_VALUE",
      message: expect.stringContaining("query.a"),
    });
  });

  it("turns its credentials into a header", async () => {
    const request = await sent(
      (url) => ({ url: url.replace("://", "://{{ data.user }}:{{ data.pass }}@") }),
      {
        data: { user: "ann", pass: "p@ss/word" },
      },
    );
    expect(request.headers.authorization).toBe(`Basic ${Buffer.from("ann:p@ss/word").toString("base64")}`);
  });
});

describe("headers", () => {
  it("are sent with defaults, which the config may replace or leave out", async () => {
    const { headers } = await sent(
      (url) => ({ url, headers: { "X-Id": "id {{ data.id }}", ACCEPT: "a/b" } }),
      {
        data: { id: 7 },
      },
    );
    expect(headers).toMatchObject({ "x-id": "id 7", accept: "a/b", "user-agent": "hitzero" });
    expect(headers["idempotency-key"]).toBeUndefined();
    const { headers: bare } = await sent((url) => ({ url, headers: { "user-agent": "{{ data }}" } }));
    expect(bare["user-agent"]).toBeUndefined();
  });

  it.each(["POST", "PUT", "PATCH", "DELETE"])(
    "of %s hold the execution's idempotency key",
    async (method) => {
      expect((await sent((url) => ({ url, method }))).headers["idempotency-key"]).toBe("run-1/call/");
      const own = { "Idempotency-Key": "order-{{ data }}" };
      expect(
        (await sent((url) => ({ url, method, headers: own }), { data: 7 })).headers["idempotency-key"],
      ).toBe("order-7");
      const none = { "idempotency-key": "{{ null }}" };
      expect(
        (await sent((url) => ({ url, method, headers: none }))).headers["idempotency-key"],
      ).toBeUndefined();
    },
  );

  it.each(["a\r\nX-Admin: 1", "a\nb", "a\u0000", "\u2028", "日本"])("refuse %j", async (data) => {
    const server = await serve(always(200));
    const error = await failure({ url: server.url, headers: { "X-Id": "{{ data }}" } }, { data });
    expect(error).toMatchObject({ code: "HTTP_HEADER_INVALID", retryable: false });
    expect(error.message).toContain("X-Id");
    expect(error.message).not.toContain(data);
    expect(server.received).toEqual([]);
  });
});

describe("the body", () => {
  const data = { id: 7, name: 'Ann "A"', list: [1, null], evil: "{{ vars.x }}" };

  it.each<[unknown, string, string | undefined]>([
    [
      { a: "{{ data.id }}", b: ["{{ data.list }}", "n {{ data.id }}"], c: 1.5 },
      '{"a":7,"b":[[1,null],"n 7"],"c":1.5}',
      "application/json",
    ],
    [
      { a: "{{ data.name }}", b: "{{ data.evil }}" },
      '{"a":"Ann \\"A\\"","b":"{{ vars.x }}"}',
      "application/json",
    ],
    [{ a: " {{ data.id }}", b: "{{ data.list }}!" }, '{"a":" 7","b":"[1,null]!"}', "application/json"],
    ["{{ data }}", JSON.stringify(data), "application/json"],
    ["{{ data.name }}", 'Ann "A"', "text/plain; charset=utf-8"],
    ["{{ data.list[1] }}", "null", "application/json"],
    ["{{ data.id }} for {{ data.name }}", '7 for Ann "A"', "text/plain; charset=utf-8"],
    [null, "null", "application/json"],
    [["{{ {'a': {'b': data.id}} }}"], '[{"a":{"b":7}}]', "application/json"],
  ])("%j is sent as %s", async (body, text, type) => {
    const request = await sent((url) => ({ url, method: "POST", body }), { data, vars: { x: "leaked" } });
    expect(request.body).toBe(text);
    expect(request.headers["content-type"]).toBe(type);
    expect(request.headers["content-length"]).toBe(String(Buffer.byteLength(text)));
  });

  it("is a form if its content-type says so", async () => {
    const headers = { "Content-Type": "application/x-www-form-urlencoded" };
    const body = { grant: "a b", id: "{{ data.id }}", list: "{{ data.list }}" };
    const request = await sent((url) => ({ url, method: "POST", headers, body }), { data });
    expect(request.body).toBe("grant=a+b&id=7&list=1");
    expect(request.headers["content-type"]).toBe(headers["Content-Type"]);
    expect(await failure({ url: "http://127.0.0.1", headers, body: { a: {} } })).toMatchObject({
      code: "HTTP_TEMPLATE_VALUE",
    });
  });

  it("is absent unless given", async () => {
    const request = await sent((url) => ({ url, method: "POST" }));
    expect(request.headers["content-type"]).toBeUndefined();
    expect(request.headers["content-length"]).toBe("0");
  });

  it("is limited", async () => {
    const big = "x".repeat(1024 * 1024);
    const body = Array.from({ length: 17 }, () => "{{ data }}");
    const error = await failure({ url: "http://127.0.0.1:9", method: "POST", body }, { data: big });
    expect(error).toMatchObject({ code: "OUTPUT_TOO_LARGE" });
    expect(isRetryable(error)).toBe(false);
  });
});

describe("the output", () => {
  it.each<[string, string | Buffer, object, unknown]>([
    ["application/json", '{"a":[1]}', {}, { a: [1] }],
    ["Application/Problem+JSON; charset=utf-8", "7", {}, 7],
    ["application/json", "", {}, null],
    ["text/html", "<p>ä</p>", {}, "<p>ä</p>"],
    ["text/plain; charset=iso-8859-1", Buffer.from("ä", "latin1"), {}, "ä"],
    ["text/plain; charset=nonsense", "ä", {}, "ä"],
    ["text/plain", "a\u0000b", {}, "a\ufffdb"],
    ["application/x-ndjson", "1\n2", {}, "1\n2"],
    ["image/png", Buffer.from([0, 255]), {}, "AP8="],
    ["image/png", "", {}, null],
    ["text/plain", '{"a":1}', { response: "json" }, { a: 1 }],
    ["application/json", '{"a":1}', { response: "text" }, '{"a":1}'],
    ["application/json", "not json", { response: "text" }, "not json"],
    ["text/plain", "ab", { response: "base64" }, "YWI="],
    ["application/json", '{"__proto__":{"x":1}}', {}, JSON.parse('{"__proto__":{"x":1}}')],
  ])("of %s %j with %j", async (type, body, config, expected) => {
    const server = await serve(
      always(200, body, { "Content-Type": type, "X-Two": ["1", "2"], "Set-Cookie": "a=b" }),
    );
    const output = await run({ url: server.url, ...config });
    expect(output).toEqual({ status: 200, headers: expect.any(Object), body: expected });
    expect(output.headers).toMatchObject({ "content-type": type, "x-two": "1, 2" });
    expect(output.headers).not.toHaveProperty("set-cookie");
  });

  it("holds cookies when asked, and nothing of a body that cannot be", async () => {
    const server = await serve(always(204, "", { "Set-Cookie": ["a=b", "c=d"] }));
    const output = await run({ url: server.url, method: "HEAD", include_set_cookie: true });
    expect(output).toMatchObject({ status: 204, headers: { "set-cookie": ["a=b", "c=d"] }, body: null });
  });

  it.each([
    ["gzip", gzipSync("hello")],
    ["deflate", deflateSync("hello")],
    ["deflate", deflateRawSync("hello")],
    ["br", brotliCompressSync("hello")],
    ["gzip, br", brotliCompressSync(gzipSync("hello"))],
    ["identity", Buffer.from("hello")],
  ])("is unpacked from %s", async (encoding, packed) => {
    const server = await serve(always(200, packed, { "Content-Encoding": encoding }));
    expect((await run({ url: server.url })).body).toBe("hello");
  });

  it.each<[string, string, string | Buffer]>([
    ["application/json", "", "{"],
    ["text/plain", "gzip", "not packed"],
    ["text/plain", "rot13", "x"],
    ["text/plain", "gzip", gzipSync("cut off").subarray(0, -9)],
  ])("of %s packed %j as %j is refused", async (type, encoding, body) => {
    const server = await serve(always(200, body, { "Content-Type": type, "Content-Encoding": encoding }));
    const error = await failure({ url: server.url });
    expect(error).toMatchObject({ code: "HTTP_BODY_INVALID", retryable: false });
  });

  it.each([
    ['{"items": [{"id": 9007199254740993}]}', "$.items[0].id is an integer beyond 2^53"],
    ['{"a": 1e999}', "$.a is a number that is too large"],
    ['{"a": {"b": 1, "b": 2}}', "$.a.b stands twice in one object"],
  ])("of %s would be changed in silence, and is refused", async (body, message) => {
    const server = await serve(always(200, body, { "Content-Type": "application/json" }));
    const error = await failure({ url: server.url });
    expect(error).toMatchObject({ code: "HTTP_BODY_INVALID", retryable: false });
    expect(error.message).toContain(message);
    expect((await run({ url: server.url, response: "text" })).body).toBe(body);
  });

  it("is limited as every output is, while it arrives", async () => {
    expect(MAX_BODY_BYTES).toBe(MAX_OUTPUT_BYTES);
    let closed: Promise<void> = Promise.resolve();
    const endless = await serve((_request, response) => {
      closed = new Promise((resolve) => response.on("close", resolve));
      const chunk = Buffer.alloc(1024 * 1024);
      const write = () => {
        while (!response.destroyed && response.write(chunk));
        if (!response.destroyed) response.once("drain", write);
      };
      write();
    });
    const error = await failure({ url: endless.url });
    expect(error.code).toBe("OUTPUT_TOO_LARGE");
    expect(isRetryable(error)).toBe(false);
    await closed;
  });

  it("is limited by what it announces and by what it unpacks to", async () => {
    const announced = await serve((_request, response) => {
      response.writeHead(200, { "Content-Length": MAX_BODY_BYTES + 1 }).write("x");
    });
    expect((await failure({ url: announced.url })).code).toBe("OUTPUT_TOO_LARGE");
    const bomb = gzipSync(Buffer.alloc(MAX_BODY_BYTES + 1));
    const packed = await serve(always(200, bomb, { "Content-Encoding": "gzip" }));
    expect((await failure({ url: packed.url })).code).toBe("OUTPUT_TOO_LARGE");
  });
});

describe("the status", () => {
  it.each<[unknown, number, boolean]>([
    [undefined, 200, true],
    [undefined, 299, true],
    [undefined, 304, false],
    [404, 404, true],
    [404, 200, false],
    ["4xx", 410, true],
    ["4XX", 500, false],
    ["200-204", 204, true],
    ["200-204", 205, false],
    [[200, "5xx", "400-401"], 503, true],
    [[200, "5xx", "400-401"], 401, true],
    [[200, "5xx", "400-401"], 404, false],
    [302, 302, true],
  ])("expected %j, given %d: %s", async (expected, status, succeeds) => {
    const server = await serve(always(status, "", { Location: "http://127.0.0.1:1/" }));
    const config = { url: server.url, ...(expected === undefined ? {} : { expect_status: expected }) };
    if (succeeds) expect((await run(config)).status).toBe(status);
    else expect((await failure(config)).code).toBe("HTTP_STATUS");
  });

  it.each([
    ...[408, 425, 429, 500, 502, 503, 504, 599].map((status) => [status, true] as const),
    ...[400, 401, 403, 404, 409, 422, 304].map((status) => [status, false] as const),
  ])("%d: to be tried again is %s", async (status, retryable) => {
    const server = await serve(always(status, "", { "Retry-After": "7" }));
    const error = await failure({ url: `${server.url}/{{ data }}` }, { data: "private" });
    expect(error).toMatchObject({ code: "HTTP_STATUS" });
    expect(isRetryable(error)).toBe(retryable);
    expect(requestedDelayMs(error)).toBe(retryable ? 7_000 : undefined);
    expect(error.message).toContain(`answered ${status}`);
    expect(error.message).not.toContain("private");
  });

  it("shows the first words of the answer", async () => {
    const packed = gzipSync(
      `{"error":\r\n"no such\torder"}${"x".repeat(300)}${randomBytes(200_000).toString("hex")}`,
    );
    const server = await serve(always(404, packed, { "Content-Encoding": "gzip" }));
    const { message } = await failure({ url: `${server.url}/a` });
    expect(message).toContain(`GET ${server.url}/a`);
    expect(message).toContain('{"error": "no such order"}xxx');
    expect(message.length).toBeLessThan(450);
    expect(message).not.toMatch(/\p{Cc}/u);
  });

  it.each<[string, number | undefined]>([
    ["120", 120_000],
    ["0", undefined],
    ["Wed, 21 Oct 2026 07:28:30 GMT", 30_000],
    ["Wed, 21 Oct 2026 07:27:00 GMT", undefined],
    ["99999999999999999999", 3_600_000],
    ["Thu, 21 Oct 2027 07:28:00 GMT", 3_600_000],
    ["-5", undefined],
    ["soon", undefined],
    ["2027-10-21", undefined],
    ["1.5", undefined],
    ["Infinity", undefined],
  ])("503 with Retry-After %s waits %s ms", async (header, expected) => {
    const server = await serve(always(503, "", { "Retry-After": header }));
    const error = await failure({ url: server.url }, { now: () => Date.parse("2026-10-21T07:28:00Z") });
    expect(isRetryable(error)).toBe(true);
    expect(requestedDelayMs(error)).toBe(expected);
  });
});
