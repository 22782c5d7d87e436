/** The engine's client for the length of one command. */
import type { Client } from "../../engine/client/client.ts";
import type { Invocation } from "./invocation.ts";
import { Lifetime, unlessInterrupted } from "./lifetime.ts";

/** Connects; says when a call waits for a server that went away, until `signal` is aborted. @throws HitzeroError when a server cannot be used */
async function connect(invocation: Invocation, signal?: AbortSignal): Promise<Client> {
  const servers = invocation.servers();
  const { Client } = await import("../../engine/client/client.ts");
  return Client.connect({
    ...servers,
    log: invocation.log("silent"),
    onAway: ({ message }) => invocation.terminal.remark(`${message}: waiting for it`),
    ...(signal === undefined ? {} : { signal }),
  });
}

/** Connects, works, closes. @throws HitzeroError when a server cannot be used */
export async function withClient<T>(
  invocation: Invocation,
  work: (client: Client) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  const client = await connect(invocation, signal);
  try {
    return await work(client);
  } finally {
    await client.close();
  }
}

/** The same for work that waits: the first signal ends it in order. @throws HitzeroError INTERRUPTED when it cannot end so */
export async function withWaitingClient<T>(
  invocation: Invocation,
  work: (client: Client, lifetime: Lifetime) => Promise<T>,
): Promise<T> {
  const lifetime = new Lifetime();
  try {
    const working = withClient(invocation, (client) => work(client, lifetime), lifetime.signal);
    return await unlessInterrupted(lifetime, working);
  } finally {
    lifetime.release();
  }
}
