/**
 * Stands between a client and Postgres as pgbouncer does in transaction mode: each transaction goes to another session than the
 * one before, settings at the start of a connection are refused, and so are prepared statements with a name.
 */
import { EventEmitter, once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import pg from "pg";

const SSL_REQUEST = 80_877_103;
/** What pgbouncer takes at the start of a connection. */
const STARTUP =
  /^(user|database|client_encoding|datestyle|timezone|standard_conforming_strings|application_name)$/i;

export interface Pooler {
  url: string;
  sessions: number;
  close(): Promise<void>;
}

function message(type: string, ...parts: (string | Buffer)[]): Buffer {
  const body = Buffer.concat(parts.map((part) => Buffer.from(part as Buffer)));
  const head = Buffer.alloc(5);
  head.write(type, "latin1");
  head.writeUInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}

const READY = message("Z", "I");
const welcome = Buffer.concat([message("R", Buffer.alloc(4)), message("K", Buffer.alloc(8)), READY]);
const refusal = (text: string) => message("E", `SFATAL\0VFATAL\0C08P01\0M${text}\0\0`);

/** Cuts a byte stream into messages; `headless`: the first one has no type. */
class Messages {
  #rest = Buffer.alloc(0);
  headless: boolean;

  constructor(headless: boolean) {
    this.headless = headless;
  }

  *take(chunk: Buffer): Generator<Buffer> {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    for (;;) {
      const at = this.headless ? 0 : 1;
      if (this.#rest.length < at + 4) return;
      const length = at + this.#rest.readUInt32BE(at);
      if (this.#rest.length < length) return;
      const whole = this.#rest.subarray(0, length);
      this.#rest = this.#rest.subarray(length);
      yield whole;
    }
  }
}

/** One session with Postgres, lent to one client for one transaction. */
class Session {
  onReply: ((reply: Buffer, idle: boolean) => void) | undefined;
  readonly #socket: Socket;

  private constructor(client: pg.Client) {
    this.#socket = (client as unknown as { connection: { stream: Socket } }).connection.stream;
    for (const event of ["data", "end", "close", "error"]) this.#socket.removeAllListeners(event);
    this.#socket.on("error", () => {});
    const messages = new Messages(false);
    this.#socket.on("data", (chunk: Buffer) => {
      for (const reply of messages.take(chunk)) this.onReply?.(reply, reply.equals(READY));
    });
  }

  static async open(url: string): Promise<Session> {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    return new Session(client);
  }

  send(whole: Buffer): void {
    this.#socket.write(whole);
  }

  close(): void {
    this.#socket.destroy();
  }
}

export async function startPooler(databaseUrl: string, sessions = 3): Promise<Pooler> {
  const open = await Promise.all(Array.from({ length: sessions }, () => Session.open(databaseUrl)));
  // The one that was idle longest comes first, so that a client hardly ever gets the same one again.
  const idle = [...open];
  const returned = new EventEmitter().setMaxListeners(0);
  const clients = new Set<Socket>();
  const server: Server = createServer({ noDelay: true }, (socket) => {
    clients.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => clients.delete(socket));
    const messages = new Messages(true);
    let session: Session | undefined;
    let queue: Promise<void> = Promise.resolve();
    const forward = async (whole: Buffer) => {
      while (!session) {
        session = idle.shift();
        if (!session) await once(returned, "session");
      }
      const lent = session;
      lent.onReply = (reply, isIdle) => {
        if (!socket.destroyed) socket.write(reply);
        if (!isIdle) return;
        session = undefined;
        idle.push(lent);
        returned.emit("session");
      };
      lent.send(whole);
    };
    socket.on("data", (chunk: Buffer) => {
      for (const whole of messages.take(chunk)) {
        if (messages.headless) {
          if (whole.readUInt32BE(4) === SSL_REQUEST) socket.write("N");
          else messages.headless = !greet(socket, whole);
        } else if (whole[0] === "P".charCodeAt(0) && whole[5] !== 0) socket.end(refusal("a named statement"));
        else if (whole[0] !== "X".charCodeAt(0)) queue = queue.then(() => forward(whole));
      }
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = new URL(databaseUrl);
  url.port = String((server.address() as AddressInfo).port);
  return {
    url: url.href,
    sessions,
    close: async () => {
      for (const socket of clients) socket.destroy();
      server.close();
      for (const session of open) session.close();
    },
  };
}

function greet(socket: Socket, startup: Buffer): boolean {
  const words = startup.subarray(8).toString().split("\0");
  const unknown = words.find((word, index) => index % 2 === 0 && word !== "" && !STARTUP.test(word));
  if (unknown === undefined) socket.write(welcome);
  else socket.end(refusal(`unsupported startup parameter: ${unknown}`));
  return unknown === undefined;
}
