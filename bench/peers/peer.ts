/** An engine of others, in processes of its own that are told what to do (link.mjs). */
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { startNodeProcess, type ToldProcess } from "../engine_process.ts";
import type { Engine, Part, Processes, Taken, Work } from "./engine.ts";

export const PEERS_FOLDER = import.meta.dirname;
const MODULES = resolve(PEERS_FOLDER, "node_modules");

/** A sample that takes so long is given up. */
const STALL_MS = 120_000;
/** The same for the first runs, few as they are. */
const TRIAL_MS = 30_000;

interface Told {
  expecting?: boolean;
  submitted?: number;
  ended?: number;
  stamps?: number[];
}

/** The version of a package that is installed for the peers. */
export function versionOf(packageName: string): string {
  const { version } = JSON.parse(readFileSync(join(MODULES, packageName, "package.json"), "utf8"));
  return version as string;
}

export interface PeerOptions {
  name: string;
  title: string;
  version: string;
  works: readonly Work[];
  /** Script in this folder. */
  script: string;
  /** In this order; each is started when the one before serves. */
  roles: readonly { part: Part; args: readonly string[] }[];
  /** Of the roles: the process that submits. */
  submitter: Part;
}

export class Peer implements Engine {
  readonly name: string;
  readonly title: string;
  readonly version: string;
  readonly works: readonly Work[];
  readonly failed: Promise<never>;
  readonly #members: readonly Member[];
  readonly #submitter: Member;
  #prepared: { work: Work; runs: number } = { work: "chain", runs: 0 };

  private constructor(options: PeerOptions, members: readonly Member[]) {
    this.name = options.name;
    this.title = options.title;
    this.version = options.version;
    this.works = options.works;
    this.#members = members;
    this.#submitter = members.find(({ part }) => part === options.submitter) as Member;
    this.failed = Promise.race(members.map(({ process }) => process.died));
    this.failed.catch(() => {});
  }

  /** Starts it and tries each work once. @throws Error when it does not perform it */
  static async start(options: PeerOptions, trialMs = TRIAL_MS): Promise<Peer> {
    const members: Member[] = [];
    try {
      for (const { part, args } of options.roles) {
        const script = join(PEERS_FOLDER, options.script);
        const process = await startNodeProcess(`${options.title} (${part})`, [script, ...args]);
        members.push(new Member(part, process));
      }
      const peer = new Peer(options, members);
      for (const work of peer.works) {
        await peer.prepare(work, 1);
        await peer.run(trialMs);
      }
      return peer;
    } catch (error) {
      await stopAll(members);
      throw error;
    }
  }

  get processes(): Processes {
    const found: Partial<Record<Part, number[]>> = {};
    for (const { part, process } of this.#members) found[part] = [...(found[part] ?? []), process.pid];
    return found;
  }

  async prepare(work: Work, runs: number): Promise<void> {
    await this.#prepare(work, runs, false);
  }

  async #prepare(work: Work, runs: number, stamps: boolean): Promise<void> {
    this.#prepared = { work, runs };
    await this.#askAll({ expect: { runs, stamps } }, "expecting");
  }

  async run(limitMs = STALL_MS): Promise<Taken> {
    const { work, runs } = this.#prepared;
    const ended = Promise.race(this.#members.map((member) => member.says("ended")));
    const submitted = this.#submitter.says("submitted");
    const begun = Number(process.hrtime.bigint() / 1_000n);
    this.#submitter.tell({ submit: { work, runs } });
    const both = Promise.all([submitted, ended]);
    const [submittedAt, endedAt] = await this.#within(both, `the end of ${runs} × ${work}`, limitMs);
    const seconds = (at: number) => (at - begun) / 1_000_000;
    return { seconds: seconds(endedAt), submitSeconds: seconds(submittedAt) };
  }

  /** It has reported every end, or `run` would have thrown. */
  async check(): Promise<void> {}

  async hops(): Promise<number[]> {
    await this.#prepare("chain", 1, true);
    await this.run();
    const stamps = (await this.#askAll({ collect: true }, "stamps")).flat();
    return stamps.slice(1).map((at, index) => (at - (stamps[index] as number)) / 1_000);
  }

  async #askAll<K extends keyof Told>(question: object, answer: K): Promise<NonNullable<Told[K]>[]> {
    const answers = this.#members.map((member) => member.says(answer));
    for (const member of this.#members) member.tell(question);
    return this.#within(Promise.all(answers), answer, TRIAL_MS);
  }

  /** @throws Error when a process dies, or nothing comes */
  async #within<T>(awaited: Promise<T>, what: string, limitMs: number): Promise<T> {
    let late: NodeJS.Timeout | undefined;
    const stall = new Promise<never>((_resolve, reject) => {
      const give = () =>
        reject(new Error(`${this.title} did not report ${what} within ${limitMs / 1_000} s`));
      // It keeps no process alive that is to end before.
      late = setTimeout(give, limitMs).unref();
    });
    try {
      return await Promise.race([awaited, this.failed, stall]);
    } finally {
      clearTimeout(late);
    }
  }

  stop(): Promise<void> {
    return stopAll(this.#members);
  }
}

/** In the opposite order of their start. */
async function stopAll(members: readonly Member[]): Promise<void> {
  for (const { process } of [...members].reverse()) await process.stop();
}

/** A process and what it says: one waits for each word at a time. */
class Member {
  readonly part: Part;
  readonly process: ToldProcess;
  readonly #waiting = new Map<string, (said: unknown) => void>();

  constructor(part: Part, process: ToldProcess) {
    this.part = part;
    this.process = process;
    process.child.on("message", (message: Told) => {
      for (const [word, said] of Object.entries(message)) this.#waiting.get(word)?.(said);
    });
  }

  tell(message: object): void {
    this.process.child.send(message);
  }

  /** What comes next with this word. */
  says<K extends keyof Told>(word: K): Promise<NonNullable<Told[K]>> {
    return new Promise((done) => {
      this.#waiting.set(word, (said) => done(said as NonNullable<Told[K]>));
    });
  }
}
