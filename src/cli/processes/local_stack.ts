/**
 * Everything that runs workflows, for one machine: servers, one supervisor, some workers. For `up` and `demo`.
 *
 * Owns: the child processes; the servers are shared with others of the folder (local/stack.ts). They start in the order
 * servers, schema, children, and end in the opposite one: workers first, as they still have something to record.
 */
import { isAbsolute, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { unlessAborted } from "../../base/wait.ts";
import { type LocalServers, startLocalServers } from "../../local/stack.ts";
import type { Serves } from "../../local/stack_state.ts";
import { migrate } from "../../postgres/migrate.ts";
import { OWN_CODE } from "../package_files.ts";
import { KeptProcess } from "./kept_process.ts";

/** Of hitzero itself, which a worker imports, too. */
const OWN_FILES = `${OWN_CODE}${sep}`;

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
  /** See `Settings.periodMs`. */
  periodMs?: number;
  /** Working folder of the children; this process's unless given. */
  cwd?: string;
  /** Are the modules of the handlers wanted? */
  watch?: boolean;
  /** Flags for the children, such as the log level. */
  childArgs?: readonly string[];
  /** Receives words on what is being done. */
  onNotice: (line: string) => void;
  /** Receives what the user should know of. */
  onWarning: (line: string) => void;
  /** Receives each line that a child prints. */
  onOutput: (name: string, line: string) => void;
}

export class LocalStack {
  readonly #options: LocalStackOptions;
  #servers: LocalServers | undefined;
  #supervisor: KeptProcess | undefined;
  #workers: KeptProcess[] = [];
  /** That end what they perform, or are being started in place of others. */
  readonly #passing = new Set<KeptProcess>();
  #stopped: Promise<void> | undefined;
  readonly #onExit = () => this.kill();
  /** Names of the handlers that the workers offer. */
  functions: string[] = [];
  /** Files of which the handlers are made, but for packages. */
  readonly modules = new Set<string>();
  /** Receives each file that is new among them. */
  onModule: (file: string) => void = () => {};

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
    const { folder, throwAway, redisUrl, databaseUrl, namespace, handlers, periodMs, onNotice } =
      this.#options;
    process.once("exit", this.#onExit);
    const starting = startLocalServers({
      dir: folder,
      signal,
      onProgress: onNotice,
      ...(handlers === undefined ? {} : { serves: { handlers: resolve(handlers), namespace } }),
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
    if (handlers !== undefined) this.#warnOfOthers(resolve(handlers), this.#servers.others);
    // The supervisor makes the others while the user works already.
    const periods = { periodsAhead: 1, ...(periodMs === undefined ? {} : { periodMs }) };
    const onApplied = (name: string) => onNotice(`applied migration ${name}`);
    await unlessAborted(migrate(this.#servers.databaseUrl, { ...periods, onApplied }), signal);
    if (!signal.aborted) await unlessAborted(this.#startChildren(), signal);
  }

  /** Their workers and these take nodes from one another, whichever module the user had in mind. */
  #warnOfOthers(handlers: string, others: readonly Serves[]): void {
    const foreign = others.filter(
      (other) => other.namespace === this.#options.namespace && other.handlers !== handlers,
    );
    for (const other of new Set(foreign.map((one) => one.handlers)))
      this.#options.onWarning(
        `another \`hitzero up\` of this folder serves ${other}, this one serves ${handlers}: workers of both take the same nodes`,
      );
  }

  async #startChildren(): Promise<void> {
    const { childArgs = [], handlers } = this.#options;
    if (handlers !== undefined) this.modules.add(resolve(handlers));
    this.#supervisor = this.#child("supervisor", ["supervisor", ...childArgs]);
    this.#workers = this.#makeWorkers();
    const [, ...ready] = await Promise.all([
      this.#supervisor.start(),
      ...this.#workers.map((worker) => worker.start()),
    ]);
    this.functions = ready[0]?.functions ?? [];
  }

  #makeWorkers(): KeptProcess[] {
    const { handlers, workers, watch, childArgs = [] } = this.#options;
    const args = [
      "worker",
      ...(handlers === undefined ? [] : ["--handlers", resolve(handlers)]),
      ...childArgs,
    ];
    const onModule = watch && handlers !== undefined ? (module: string) => this.#note(module) : undefined;
    return Array.from({ length: workers }, (_, index) => this.#child(`worker ${index + 1}`, args, onModule));
  }

  #note(module: string): void {
    if (!module.startsWith("file:") && !isAbsolute(module)) return;
    const file = module.startsWith("file:") ? fileURLToPath(module) : module;
    if (file.includes(`${sep}node_modules${sep}`) || file.startsWith(OWN_FILES) || this.modules.has(file))
      return;
    this.modules.add(file);
    this.onModule(file);
  }

  /**
   * Starts new workers and has the old ones end: they take no more nodes, and end what they perform.
   * @throws HitzeroError CHILD_NOT_STARTED: the old ones go on
   */
  async replaceWorkers(): Promise<void> {
    const old = this.#workers;
    const next = this.#makeWorkers();
    for (const worker of next) this.#passing.add(worker);
    try {
      // One is enough to see whether the handlers load.
      const [first, ...rest] = next;
      const ready = await first?.start();
      if (!this.#stopped) await Promise.all(rest.map((worker) => worker.start()));
      this.functions = ready?.functions ?? [];
    } catch (error) {
      for (const worker of next) this.#letGo(worker);
      throw error;
    }
    for (const worker of next) this.#passing.delete(worker);
    this.#workers = next;
    for (const worker of old) this.#letGo(worker);
    if (this.#stopped) for (const worker of next) this.#letGo(worker);
  }

  #letGo(worker: KeptProcess): void {
    this.#passing.add(worker);
    void worker.stop().finally(() => this.#passing.delete(worker));
  }

  #child(name: string, args: readonly string[], onModule?: (module: string) => void): KeptProcess {
    const { cwd, onNotice, onOutput, namespace } = this.#options;
    const { redisUrl, databaseUrl } = this.servers;
    const env = {
      HITZERO_REDIS_URL: redisUrl,
      HITZERO_DATABASE_URL: databaseUrl,
      HITZERO_NAMESPACE: namespace,
    };
    return new KeptProcess({
      ...{ name, args, env, onNotice, onOutput },
      ...(onModule ? { onModule } : {}),
      ...(cwd === undefined ? {} : { cwd }),
    });
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
    await Promise.all([...this.#workers, ...this.#passing].map((worker) => worker.stop()));
    await this.#supervisor?.stop();
    await this.#servers?.stop();
    process.off("exit", this.#onExit);
  }

  /** Ends the children at once. The servers are told to end when this process exits. */
  kill(): void {
    for (const child of [...this.#workers, ...this.#passing, this.#supervisor]) child?.kill();
  }
}
