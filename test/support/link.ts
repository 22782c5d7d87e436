/** A link that a test can break in ways that a server cannot: it falls silent with its sockets open, or leads elsewhere from now on. */
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

export type Direction = "to_server" | "to_client";

export interface Link {
  /** The target's URL with the proxy's port. */
  url: string;
  /** What goes in these directions is swallowed, on all connections and new ones; no socket closes. */
  silence(...directions: Direction[]): void;
  /** All connections are cut; new ones pass. */
  cut(): void;
  /** All connections are cut, and new ones too. */
  refuse(): void;
  /** New connections pass again. Those that were silent stay so: what they swallowed is lost. */
  speak(): void;
  /** New connections go there; those that are open stay where they are. */
  leadTo(url: string): void;
  /** Connections that are open, from the clients. */
  readonly open: number;
  close(): Promise<void>;
}

export async function startLink(target: string): Promise<Link> {
  let to = new URL(target);
  let refuses = false;
  let silent: readonly Direction[] = [];
  const links = new Set<{ near: Socket; far: Socket; silent: Set<Direction> }>();
  const cut = () => {
    for (const { near } of links) near.destroy();
  };
  const server = createServer((near) => {
    if (refuses) return near.destroy();
    const far = connect(Number(to.port), to.hostname);
    const link = { near, far, silent: new Set(silent) };
    links.add(link);
    near.on("data", (data) => link.silent.has("to_server") || far.write(data));
    far.on("data", (data) => link.silent.has("to_client") || near.write(data));
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      one.on("error", () => {});
      // A silent link does not tell that the other end is gone either.
      one.on("close", () => {
        if (one === near) links.delete(link);
        if (one === near || link.silent.size === 0) other.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = new URL(target);
  url.hostname = "127.0.0.1";
  url.port = String((server.address() as AddressInfo).port);
  return {
    url: url.href,
    silence: (...directions) => {
      silent = directions;
      for (const link of links) for (const direction of directions) link.silent.add(direction);
    },
    cut,
    refuse: () => {
      refuses = true;
      cut();
    },
    speak: () => {
      refuses = false;
      silent = [];
    },
    leadTo: (other) => {
      to = new URL(other);
    },
    get open() {
      return links.size;
    },
    close: async () => {
      for (const { near, far } of links) {
        near.destroy();
        far.destroy();
      }
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
