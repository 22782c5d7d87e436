/** Runs `http` nodes against servers on this machine. */
import { createServer, type IncomingMessage, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { onTestFinished } from "vitest";
import { callHttp, type HttpOutput, type HttpSurroundings } from "../../../src/handlers/http.ts";
import type { Execution } from "../../../src/handlers/types.ts";
import { compile } from "../../../src/workflow/compile/compile.ts";

export interface Received {
  method: string;
  /** Path and query as they arrived. */
  target: string;
  headers: IncomingMessage["headers"];
  body: string;
}

export interface TestServer {
  url: string;
  port: number;
  received: Received[];
}

/** A server on 127.0.0.1 that ends with the test. */
export async function serve(answer: RequestListener, host = "127.0.0.1"): Promise<TestServer> {
  const received: Received[] = [];
  const server: Server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const { method = "", url: target = "", headers } = request;
      received.push({ method, target, headers, body: Buffer.concat(chunks).toString() });
      answer(request, response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, port, received };
}

/** Answers every request alike. */
export function always(
  status: number,
  body: string | Buffer = "",
  headers: Record<string, string | string[]> = {},
): RequestListener {
  return (_request, response) => response.writeHead(status, headers).end(body);
}

export interface RunOptions {
  data?: unknown;
  input?: unknown;
  vars?: Record<string, unknown>;
  /** Output of the predecessor "before". */
  before?: unknown;
  environment?: NodeJS.ProcessEnv;
  resolver?: HttpSurroundings["resolver"];
  signal?: AbortSignal;
  now?: () => number;
}

const ALLOW_ALL = { HITZERO_HTTP_ALLOW_PRIVATE: "true" };

/** An execution of an `http` node named "call". */
export function executionOf(config: object, options: RunOptions = {}): Execution {
  const { ir } = compile({
    name: "test",
    nodes: [
      { id: "before", type: "parallel" },
      { id: "call", type: "http", config },
    ],
    edges: [{ from: "before", to: "call" }],
    vars: options.vars ?? {},
  });
  return {
    ir,
    nodeIndex: 1,
    node: ir.nodes[1],
    runId: "run-1",
    scope: "",
    attempt: 1,
    sources: [0],
    data: options.data ?? null,
    input: options.input ?? null,
    ancestors: { before: { output: options.before ?? null } },
    signal: options.signal ?? new AbortController().signal,
  } as unknown as Execution;
}

/** Performs it. */
export async function run(config: object, options: RunOptions = {}): Promise<HttpOutput> {
  return callHttp(executionOf(config, options), {
    environment: { ...ALLOW_ALL, ...options.environment },
    resolver: options.resolver ?? (async () => [{ address: "127.0.0.1", family: 4 }]),
    now: options.now ?? Date.now,
  });
}

/** What a run throws. */
export async function failure(config: object, options: RunOptions = {}): Promise<Error & { code?: string }> {
  try {
    await run(config, options);
  } catch (error) {
    return error as Error;
  }
  throw new Error("the node did not fail");
}
