/**
 * Faults at named points, drawn from a seed: what is lost, repeated, held up or taken away, and how often it was.
 *
 * Owns: the one door to Redis of every connection that is opened while the faults are installed. A call may be lost before it
 * reaches the server or lose its reply afterwards, a delivery may get lost on its way, an announcement may be dropped, and all
 * calls of one process may be held up for a while, as if it stood still. What came of it is the engine's to mend.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { createHash } from "node:crypto";
import { readdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { Command, Redis } from "ioredis";
import { RedisConnection } from "../../src/redis/connection.ts";
import { sourceOf } from "../../src/redis/load_scripts.ts";
import type { Dice } from "./dice.ts";

/** A process of the engine as the faults know it: the connections that were opened in its name. */
export class Party {
  readonly name: string;
  #thaws: Promise<void> | undefined;

  constructor(name: string) {
    this.name = name;
  }

  /** Settles when its calls may go out; undefined: now. */
  get thaws(): Promise<void> | undefined {
    return this.#thaws;
  }

  /** Holds all its calls up for so long. */
  freeze(ms: number): void {
    const until = sleep(ms).then(() => {
      if (this.#thaws === until) this.#thaws = undefined;
    });
    this.#thaws = until;
  }
}

/** How likely a call of a script is lost, and its reply. */
interface Rate {
  call: number;
  reply: number;
  /** It is run once more, some time later: it lay in a socket while its caller, on another one, had asked again. */
  twin?: number;
}

export interface Rates {
  scripts: Record<string, Rate>;
  /** Scripts that are not named. */
  others: Rate;
  delivery: number;
  announcement: number;
  pauseBeforeCleanUp: number;
}

const NEVER: Rate = { call: 0, reply: 0 };

/** A bit of everything. A fault of a reader's script interrupts it, and another reader may take over. */
export const ROUGH: Rates = {
  scripts: {
    advance: { call: 0.01, reply: 0.03, twin: 0.01 },
    step: { call: 0.01, reply: 0.03, twin: 0.01 },
    renew: { call: 0.05, reply: 0.05 },
    start: { call: 0.004, reply: 0.03, twin: 0.2 },
    command: { call: 0.01, reply: 0.05, twin: 0.1 },
    note_running: { call: 0.05, reply: 0.05 },
  },
  others: { call: 0.005, reply: 0.01, twin: 0.02 },
  delivery: 0.02,
  announcement: 0.3,
  pauseBeforeCleanUp: 0.03,
};

/** Steps get lost, or their replies; nothing else happens. */
export const LOST_STEPS: Rates = {
  scripts: { advance: { call: 0.1, reply: 0.2 }, step: { call: 0.1, reply: 0.2 } },
  others: NEVER,
  delivery: 0,
  announcement: 0,
  pauseBeforeCleanUp: 0,
};

/** What makes a connection usable goes out at once, in its order. */
const HANDSHAKE = new Set(["auth", "hello", "info", "select", "client"]);

const openWithout = RedisConnection.open.bind(RedisConnection);

const lost = (): Error => new Error("Connection is closed.");

export class Faults {
  readonly #dice: Dice;
  readonly #rates: Rates;
  readonly #counts = new Map<string, number>();
  readonly #scripts = scriptsByDigest();
  readonly #current = new AsyncLocalStorage<Party>();
  #active = true;
  /** Steps of workers so far: how far the engine got. */
  steps = 0;
  /** Called when a reader is held up between its commit and its clean-up. */
  onReaderPaused: (reader: Party) => void = () => {};

  constructor(dice: Dice, rates: Rates) {
    this.#dice = dice;
    this.#rates = rates;
  }

  /** What happened so far, by kind: `name count, …`. */
  get summary(): string {
    const entries = [...this.#counts].sort(([a], [b]) => a.localeCompare(b));
    return entries.map(([kind, count]) => `${kind} ${count}`).join(", ");
  }

  get total(): number {
    return [...this.#counts.values()].reduce((total, count) => total + count, 0);
  }

  count(kind: string, times = 1): void {
    if (times > 0) this.#counts.set(kind, (this.#counts.get(kind) ?? 0) + times);
  }

  /** From here on every connection that is opened is subject to faults. */
  install(): void {
    RedisConnection.open = async (...args) => {
      const connection = await openWithout(...args);
      this.#meddle(connection.redis, this.#current.getStore() ?? new Party("test"));
      return connection;
    };
  }

  /** Connections that are opened from here on are spared. */
  uninstall(): void {
    RedisConnection.open = openWithout;
  }

  /** No more faults: the engine is left to heal. */
  cease(): void {
    this.#active = false;
  }

  /** Whatever is opened in there, now or later, belongs to the party. */
  inNameOf<T>(party: Party, act: () => T): T {
    return this.#current.run(party, act);
  }

  #meddle(redis: Redis, party: Party): void {
    const send = redis.sendCommand.bind(redis) as (command: Command, ...rest: unknown[]) => Promise<unknown>;
    const meddled = (command: Command, ...rest: unknown[]): Promise<unknown> => {
      const thaws = this.#active && !HANDSHAKE.has(command.name) ? party.thaws : undefined;
      const again = () => this.#sendLate(redis, command);
      const go = () => this.#send(party, command, () => send(command, ...rest), again);
      const answer = thaws ? thaws.then(go) : go();
      // A pipeline listens to the command itself, not to what it was answered.
      answer.catch(() => {});
      return answer;
    };
    redis.sendCommand = meddled as Redis["sendCommand"];
  }

  #send(party: Party, command: Command, send: () => Promise<unknown>, again: () => void): Promise<unknown> {
    if (!this.#active) return send();
    if (command.name === "evalsha" || command.name === "eval")
      return this.#sendScript(party, command, send, again);
    if (command.name.toLowerCase() === "xreadgroup") return this.#sendRead(send);
    if (command.name === "publish" && this.#dice.chance(this.#rates.announcement)) {
      this.count("announcement dropped");
      return Promise.resolve(0);
    }
    return send();
  }

  #sendScript(
    party: Party,
    command: Command,
    send: () => Promise<unknown>,
    again: () => void,
  ): Promise<unknown> {
    const script = this.#scripts.get(String(command.args[0])) ?? "script";
    if (script === "advance" || script === "step") this.steps += 1;
    const rates = this.#rates.scripts[script] ?? this.#rates.others;
    if (script === "forget" && this.#dice.chance(this.#rates.pauseBeforeCleanUp)) {
      this.count("reader paused before clean-up");
      this.onReaderPaused(party);
      return (party.thaws ?? Promise.resolve()).then(send);
    }
    if (this.#dice.chance(rates.call)) {
      this.count(`call of ${script} lost`);
      return Promise.reject(lost());
    }
    const sent = send();
    if (this.#dice.chance(rates.twin ?? 0)) {
      this.count(`twin of ${script}`);
      again();
    }
    if (!this.#dice.chance(rates.reply)) return sent;
    return sent.then(() => {
      this.count(`reply of ${script} lost`);
      throw lost();
    });
  }

  #sendLate(redis: Redis, { name, args }: Command): void {
    const late = sleep(this.#dice.between(1, 2_500)).then(() => redis.call(name, ...args.map(String)));
    late.catch(() => {});
  }

  /** Entries that the server has noted as delivered, and that their reader never saw. */
  #sendRead(send: () => Promise<unknown>): Promise<unknown> {
    const isLost = this.#dice.chance(this.#rates.delivery);
    return send().then((reply) => {
      if (!isLost || reply === null) return reply;
      this.count("delivery lost");
      throw lost();
    });
  }
}

/** Names of the scripts by what calls name them by. */
function scriptsByDigest(): Map<string, string> {
  const folder = new URL("../../lua/", import.meta.url);
  const names = readdirSync(folder).filter((name) => name.endsWith(".lua"));
  return new Map(
    names.flatMap((name) => {
      const script = name.slice(0, -".lua".length);
      const source = sourceOf(script);
      return [
        [createHash("sha1").update(source).digest("hex"), script],
        [source, script],
      ] as const;
    }),
  );
}
