/** A link that a test can break in ways that a server cannot: it falls silent with its sockets open, or leads elsewhere from now on. */
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

/** Of one byte to the next. */
const CRAWL_MS = 3_000;

export type Direction = "to_server" | "to_client";

export interface Link {
  /** The target's URL with the proxy's port. */
  url: string;
  /** What goes in these directions is swallowed, on all connections and new ones; no socket closes. */
  silence(...directions: Direction[]): void;
  /** All connections are cut; new ones pass. */
  cut(): void;
  /** What comes from the server passes a byte now and then: something is heard again and again, and hardly a reply gets through. */
  crawl(): void;
  /** All connections are cut, and new ones too. */
  refuse(): void;
  /** New connections pass again. Those that were silent stay so: what they swallowed is lost. */
  speak(): void;
  /** New connections go there; those that are open stay where they are. */
  leadTo(url: string): void;
  /** Connections that the clients have not ended. */
  readonly open: number;
  close(): Promise<void>;
}

export async function startLink(target: string): Promise<Link> {
  let to = new URL(target);
  let refuses = false;
  let silent: readonly Direction[] = [];
  let crawls = false;
  const links = new Set<{ near: Socket; far: Socket; silent: Set<Direction>; late: Buffer[] }>();
  const sockets = new Set<Socket>();
  const crawling = setInterval(() => {
    for (const { near, late } of links) {
      const [first, ...others] = late;
      if (first === undefined) continue;
      near.write(first.subarray(0, 1));
      late.splice(0, late.length, ...(first.length > 1 ? [first.subarray(1)] : []), ...others);
    }
  }, CRAWL_MS);
  const cut = () => {
    for (const { near } of links) near.destroy();
  };
  const server = createServer({ allowHalfOpen: true }, (near) => {
    if (refuses) return near.destroy();
    const far = connect({ port: Number(to.port), host: to.hostname, allowHalfOpen: true });
    const link = { near, far, silent: new Set(silent), late: [] as Buffer[] };
    links.add(link);
    near.on("data", (data) => link.silent.has("to_server") || far.write(data));
    far.on("data", (data) => {
      if (link.silent.has("to_client")) return;
      if (crawls) link.late.push(data);
      else near.write(data);
    });
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(one);
      one.on("error", () => {});
      // A silent link does not tell that one end has nothing more to say, or is gone: who waits for that waits in vain.
      one.on("end", () => {
        if (one === near) links.delete(link);
        if (!link.silent.has(one === near ? "to_server" : "to_client")) other.end();
      });
      one.on("close", () => {
        sockets.delete(one);
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
    crawl: () => {
      crawls = true;
    },
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
      clearInterval(crawling);
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
