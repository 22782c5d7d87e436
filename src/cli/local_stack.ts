/**
 * Everything that runs workflows, for one machine: servers, one supervisor, some workers. For `up` and `demo`.
 *
 * Owns: the child processes; the servers are shared with others of the folder (local/stack.ts). They start in the order
 * servers, schema, children, and end in the opposite one: workers first, as they still have something to record.
 */
import { resolve } from "node:path";
import { type LocalServers, startLocalServers } from "../local/stack.ts";
import { migrate } from "../postgres/migrate.ts";
import { KeptProcess } from "./kept_process.ts";

interface LocalStackOptions {
  /** Folder of the servers' data and state. */
  folder: string;
  throwAway?: boolean;
  /** Servers that run elsewhere. */
  redisUrl?: string;
  databaseUrl?: string;
  namespace: string;
  /** Path of the handler module. */
  handlers?: string;
  workers: number;
  /** Working folder of the children; this process's unless given. */
  cwd?: string;
  /** Flags for the children, such as the log level. */
  childArgs?: readonly string[];
  /** Receives words on what is being done. */
  onNotice: (line: string) => void;
  /** Receives each line that a child prints. */
  onOutput: (name: string, line: string) => void;
}

export class LocalStack {
  readonly #options: LocalStackOptions;
  #servers: LocalServers | undefined;
  #supervisor: KeptProcess | undefined;
  #workers: KeptProcess[] = [];
  #stopped: Promise<void> | undefined;
  readonly #onExit = () => this.kill();
  /** Names of the handlers that the workers offer. */
  functions: string[] = [];

  constructor(options: LocalStackOptions) {
    this.#options = options;
  }

  /** @throws before the servers run */
  get servers(): LocalServers {
    if (!this.#servers) throw new Error("the servers do not run yet");
    return this.#servers;
  }

  get supervisorPid(): number | undefined {
    return this.#supervisor?.pid;
  }

  get workerPids(): (number | undefined)[] {
    return this.#workers.map(({ pid }) => pid);
  }

  /**
   * Starts everything; resolves once all serve. Goes no further once `signal` is aborted. When it throws, `stop()` ends what
   * was started.
   * @throws HitzeroError of the servers and of `migrate`, CHILD_NOT_STARTED
   */
  async start(signal: AbortSignal): Promise<void> {
    const { folder, throwAway, redisUrl, databaseUrl, onNotice } = this.#options;
    process.once("exit", this.#onExit);
    const starting = startLocalServers({
      dir: folder,
      signal,
      onProgress: onNotice,
      ...(throwAway ? { throwAway } : {}),
      ...(redisUrl === undefined ? {} : { redisUrl }),
      ...(databaseUrl === undefined ? {} : { databaseUrl }),
    });
    this.#servers = await starting.catch((error: unknown) => {
      // Cut short by the signal: whatever failed then is no news.
      if (signal.aborted) return undefined;
      throw error;
    });
    if (signal.aborted || !this.#servers) return;
    await migrate(this.#servers.databaseUrl, { onApplied: (name) => onNotice(`applied migration ${name}`) });
    if (signal.aborted) return;
    await this.#startChildren();
  }

  async #startChildren(): Promise<void> {
    const { handlers, workers, childArgs = [] } = this.#options;
    const args = [
      "worker",
      ...(handlers === undefined ? [] : ["--handlers", resolve(handlers)]),
      ...childArgs,
    ];
    this.#supervisor = this.#child("supervisor", ["supervisor", ...childArgs]);
    this.#workers = Array.from({ length: workers }, (_, index) => this.#child(`worker ${index + 1}`, args));
    const [, ...ready] = await Promise.all([
      this.#supervisor.start(),
      ...this.#workers.map((worker) => worker.start()),
    ]);
    this.functions = ready[0]?.functions ?? [];
  }

  #child(name: string, args: readonly string[]): KeptProcess {
    const { cwd, onNotice, onOutput, namespace } = this.#options;
    const { redisUrl, databaseUrl } = this.servers;
    const env = {
      HITZERO_REDIS_URL: redisUrl,
      HITZERO_DATABASE_URL: databaseUrl,
      HITZERO_NAMESPACE: namespace,
    };
    return new KeptProcess({ name, args, env, onNotice, onOutput, ...(cwd === undefined ? {} : { cwd }) });
  }

  /** Workers end what they perform, then the supervisor records it, then the servers end. May be called again. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  /** The same without waiting for what workers perform. */
  stopAtOnce(): Promise<void> {
    this.kill();
    return this.stop();
  }

  async #stop(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.stop()));
    await this.#supervisor?.stop();
    await this.#servers?.stop();
    process.off("exit", this.#onExit);
  }

  /** Ends the children at once. The servers are told to end when this process exits. */
  kill(): void {
    for (const child of [...this.#workers, this.#supervisor]) child?.kill();
  }
}
