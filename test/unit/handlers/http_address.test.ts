import { describe, expect, it, onTestFinished, vi } from "vitest";
import { isPublicAddress, mayConnect, parseAddressPolicy } from "../../../src/handlers/http_address.ts";
import { callNode } from "../../../src/handlers/node_types.ts";
import type { Execution } from "../../../src/handlers/types.ts";
import { compile } from "../../../src/workflow/compile/compile.ts";
import { always, failure, run, serve } from "./http_support.ts";

const PRIVATE = [
  ..."0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.255 127.0.0.1 127.255.255.254".split(
    " ",
  ),
  ..."169.254.0.1 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 192.0.2.1 192.168.0.1 198.18.0.1".split(
    " ",
  ),
  ..."198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255".split(" "),
  ...":: ::1 ::2 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:7f00:1 ::ffff:10.0.0.1 ::ffff:169.254.169.254".split(
    " ",
  ),
  ..."0:0:0:0:0:ffff:c0a8:0001 ::ffff:0:127.0.0.1 64:ff9b::127.0.0.1 64:ff9b::a00:1 64:ff9b:1::1".split(" "),
  ..."2002:7f00:1:: 2002:a00:1::1 2001::1 2001:db8::1 100::1 fc00::1 fd12:3456::1 fe80::1 fe80::1%eth0".split(
    " ",
  ),
  ..."febf::1 fec0::1 ff02::1 ff0e::1 3fff::1 4000::1 5f00::1 fd00:ec2::254 168.63.129.16".split(" "),
  ..."nonsense 1.2.3 1.2.3.4.5 300.1.1.1 :::1".split(" "),
];
const PUBLIC = [
  ..."1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1".split(" "),
  ..."169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.167.255.255 192.169.0.0 198.17.255.255".split(
    " ",
  ),
  ..."198.20.0.0 223.255.255.255 2606:4700::1111 2a00:1450:4001:81b::200e ::ffff:8.8.8.8 64:ff9b::8.8.8.8".split(
    " ",
  ),
  ..."2002:808:808::1 2001:4860:4860::8888 2001:200::1".split(" "),
];

describe("addresses", () => {
  it.each(PRIVATE)("%s is not public", (address) => {
    expect(isPublicAddress(address)).toBe(false);
  });

  it.each(PUBLIC)("%s is public", (address) => {
    expect(isPublicAddress(address)).toBe(true);
  });

  it.each<[string | undefined, string, string, boolean]>([
    [undefined, "a.example", "10.0.0.1", false],
    ["", "a.example", "10.0.0.1", false],
    ["false", "a.example", "10.0.0.1", false],
    ["true", "a.example", "10.0.0.1", true],
    ["10.0.0.0/8", "a.example", "10.200.0.1", true],
    ["10.0.0.0/8", "a.example", "::ffff:10.200.0.1", true],
    ["10.0.0.0/8", "a.example", "192.168.0.1", false],
    ["10.0.0.0/9", "a.example", "10.128.0.1", false],
    ["10.1.2.3", "a.example", "10.1.2.3", true],
    ["10.1.2.3", "a.example", "10.1.2.4", false],
    ["192.168.0.0/16, fd00::/8", "a.example", "fd12::1", true],
    ["::1", "[::1]", "::1", true],
    ["[::1]", "[::1]", "::1", true],
    ["A.Example", "a.example", "10.0.0.1", true],
    ["a.example", "b.example", "10.0.0.1", false],
    ["a.example", "x.a.example", "10.0.0.1", false],
    ["a.example", "a.example", "nonsense", false],
    ["localhost,", "localhost", "127.0.0.1", true],
  ])("HITZERO_HTTP_ALLOW_PRIVATE=%s: %s at %s is allowed: %s", (setting, host, address, allowed) => {
    expect(mayConnect(parseAddressPolicy(setting), host, address)).toBe(allowed);
  });

  it.each(["10.0.0.0/33", "10.0.0.0/x", "::/129", "http://a", "a:80", "a b", "a@b", "10.0.0.0/8/8"])(
    "HITZERO_HTTP_ALLOW_PRIVATE=%s is a bad setting",
    (setting) => {
      expect(() => parseAddressPolicy(setting)).toThrow(
        expect.objectContaining({ code: "BAD_SETTING", retryable: false }),
      );
    },
  );
});

describe("a node", () => {
  const closed = { HITZERO_HTTP_ALLOW_PRIVATE: "" };

  it.each([
    "http://127.0.0.1:PORT/",
    "http://127.1:PORT/",
    "http://0x7f.0.0.1:PORT/",
    "http://0177.0.0.1:PORT/",
    "http://2130706433:PORT/",
    "http://0x7f000001:PORT/",
    "http://127.0.0.1.:PORT/",
    "http://①②⑦.0.0.1:PORT/",
    "http://%31%32%37.0.0.1:PORT/",
    "http://0:PORT/",
    "http://0.0.0.0:PORT/",
    "http://[::]:PORT/",
    "http://[::1]:PORT/",
    "http://[0:0:0:0:0:0:0:1]:PORT/",
    "http://[::ffff:127.0.0.1]:PORT/",
    "http://[::127.0.0.1]:PORT/",
    "http://[64:ff9b::7f00:1]:PORT/",
    "http://localhost:PORT/",
    "http://LOCALHOST.:PORT/",
    "http://user@127.0.0.1:PORT/",
    "http://rebinding.example:PORT/",
  ])("does not reach %s", async (url) => {
    const server = await serve(always(200, "private"), "0.0.0.0");
    const at = url.replace("PORT", String(server.port));
    for (const config of [{ url: at }, { url: "{{ data }}" }]) {
      const error = await failure(config, { data: at, environment: closed });
      expect(error).toMatchObject({ code: "HTTP_ADDRESS_REFUSED", retryable: false });
    }
    expect(server.received).toEqual([]);
  });

  it.each(["127.0.0.1", "localhost"])(
    "of a worker that is not told otherwise does not reach %s",
    async (host) => {
      vi.stubEnv("HITZERO_HTTP_ALLOW_PRIVATE", undefined);
      onTestFinished(() => void vi.unstubAllEnvs());
      const server = await serve(always(200, "private"));
      const { ir } = compile({
        name: "test",
        nodes: [{ id: "call", type: "http", config: { url: `http://${host}:${server.port}/` } }],
      });
      const { signal } = new AbortController();
      const execution = {
        ir,
        nodeIndex: 0,
        node: ir.nodes[0],
        ancestors: {},
        signal,
      } as unknown as Execution;
      await expect(callNode(execution, new Map())).rejects.toMatchObject({ code: "HTTP_ADDRESS_REFUSED" });
      vi.stubEnv("HITZERO_HTTP_ALLOW_PRIVATE", host);
      expect(await callNode(execution, new Map())).toMatchObject({ status: 200, body: "private" });
    },
  );

  it("connects to the addresses that were judged, whatever the name answers the next time", async () => {
    const server = await serve(always(200, "private"));
    const answers = ["203.0.112.1", "127.0.0.1"];
    let asked = 0;
    const resolver = async () => [{ address: answers[asked++] as string, family: 4 }];
    const abort = new AbortController();
    const result = failure(
      { url: `http://rebinding.example:${server.port}/` },
      { environment: closed, resolver, signal: abort.signal },
    );
    setTimeout(() => abort.abort(new Error("enough")), 200);
    await result;
    expect(asked).toBe(1);
    expect(server.received).toEqual([]);
  });

  it("passes over the private ones among several addresses", async () => {
    const server = await serve(always(200));
    const resolver = async () => [
      { address: "10.0.0.1", family: 4 },
      { address: "127.0.0.1", family: 4 },
    ];
    const environment = { HITZERO_HTTP_ALLOW_PRIVATE: "127.0.0.0/8" };
    expect((await run({ url: `http://a.example:${server.port}/` }, { environment, resolver })).status).toBe(
      200,
    );
  });

  it("reaches what the setting allows, and only that", async () => {
    const server = await serve(always(200));
    const url = `http://a.example:${server.port}/`;
    for (const setting of ["a.example", "127.0.0.1", "127.0.0.0/8"]) {
      expect((await run({ url }, { environment: { HITZERO_HTTP_ALLOW_PRIVATE: setting } })).status).toBe(200);
    }
    const environment = { HITZERO_HTTP_ALLOW_PRIVATE: "b.example,10.0.0.0/8" };
    expect((await failure({ url }, { environment })).code).toBe("HTTP_ADDRESS_REFUSED");
  });
});
