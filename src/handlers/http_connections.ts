/**
 * The connections of a worker's `http` nodes, kept for the next request to the same origin.
 *
 * Owns: the sockets. Invariants: each was judged by the address that it leads to, under the policy of whoever uses it, since the
 * connections of one policy are never another's; their number is bounded for each origin, idle ones close
 * after a while, and at once when there are many. What is kept is closed with the worker.
 */
import { setMaxListeners } from "node:events";
import type { Socket } from "node:net";
import type { Agent, buildConnector } from "undici";
import {
  type AddressPolicy,
  guardedLookup,
  mayConnect,
  parseAddressPolicy,
  type Resolver,
  refused,
} from "./http_address.ts";

export interface ConnectionLimits {
  /** To one origin; further requests wait for one of these. */
  perOrigin: number;
  connectMs: number;
  /** A connection that is not used for this long is closed. A server that says how long it waits is believed. */
  idleMs: number;
  longestIdleMs: number;
  /** With so many sockets open none is kept after its answer. */
  mostKept: number;
}

const LIMITS: ConnectionLimits = {
  // What a worker performs at once, unless it is told otherwise.
  perOrigin: 32,
  connectMs: 30_000,
  // Many servers close after five seconds.
  idleMs: 4_000,
  longestIdleMs: 60_000,
  mostKept: 256,
};

export class HttpConnections {
  readonly #resolver: Resolver;
  readonly #byPolicy = new Map<string, Promise<JudgedConnections>>();

  readonly #limits: ConnectionLimits;

  constructor(resolver: Resolver, limits: Partial<ConnectionLimits> = {}) {
    this.#resolver = resolver;
    this.#limits = { ...LIMITS, ...limits };
  }

  /**
   * Those that HITZERO_HTTP_ALLOW_PRIVATE allows.
   * @throws AttemptError BAD_SETTING
   */
  allowedBy(setting = ""): Promise<JudgedConnections> {
    let connections = this.#byPolicy.get(setting);
    if (connections === undefined) {
      connections = open(parseAddressPolicy(setting), this.#resolver, this.#limits);
      this.#byPolicy.set(setting, connections);
    }
    return connections;
  }

  /** Cuts what is under way. */
  async close(): Promise<void> {
    const all = [...this.#byPolicy.values()];
    this.#byPolicy.clear();
    await Promise.all(all.map(async (connections) => (await connections).close()));
  }
}

/** undici is loaded with the first request: most workers send none. */
async function open(
  policy: AddressPolicy,
  resolver: Resolver,
  limits: ConnectionLimits,
): Promise<JudgedConnections> {
  // Its default export is the module as a whole, in the bundle too.
  const { default: undici } = await import("undici");
  return new JudgedConnections(policy, resolver, limits, undici);
}

/** Connections of one policy. */
export class JudgedConnections {
  readonly agent: Agent;
  readonly policy: AddressPolicy;
  readonly #connect: buildConnector.connector;
  /** Sockets opened so far: when it has not grown, a request went over a kept one. */
  opened = 0;
  #open = 0;
  /** Ends sockets that are still connecting; undici would wait for them. */
  readonly #closing = new AbortController();

  readonly #mostKept: number;

  constructor(
    policy: AddressPolicy,
    resolver: Resolver,
    limits: ConnectionLimits,
    undici: Pick<typeof import("undici"), "Agent" | "buildConnector">,
  ) {
    this.policy = policy;
    this.#mostKept = limits.mostKept;
    setMaxListeners(0, this.#closing.signal);
    this.#connect = undici.buildConnector({
      // A name's answers are judged before connecting, and none but allowed ones are connected to.
      lookup: guardedLookup(policy, resolver),
      timeout: limits.connectMs,
      signal: this.#closing.signal,
    });
    this.agent = new undici.Agent({
      connect: (options, callback) => this.#judged(options, callback),
      connections: limits.perOrigin,
      keepAliveTimeout: limits.idleMs,
      keepAliveMaxTimeout: limits.longestIdleMs,
      // The node's own timeout ends a request.
      headersTimeout: 0,
      bodyTimeout: 0,
    });
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.agent.destroy();
  }

  /** Too many to keep the next one, too? */
  get areMany(): boolean {
    return this.#open >= this.#mostKept;
  }

  /** Whatever the look-up said: the address that a socket leads to is judged before anything is sent over it. */
  #judged(options: buildConnector.Options, callback: buildConnector.Callback): void {
    this.#connect(options, (...[error, socket]) => {
      if (error) return callback(error, null);
      const { hostname } = options;
      if (!mayConnect(this.policy, hostname, socket.remoteAddress ?? "")) {
        socket.destroy();
        return callback(refused(hostname), null);
      }
      this.#count(socket);
      callback(null, socket);
    });
  }

  #count(socket: Socket): void {
    this.opened += 1;
    this.#open += 1;
    socket.once("close", () => {
      this.#open -= 1;
    });
  }
}
