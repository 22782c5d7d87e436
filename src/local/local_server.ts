/** What a server that hitzero runs itself looks like to its user. */

import type { ProcessIdentity } from "./processes.ts";

/** A running server on this machine's loopback. */
export interface LocalServer {
  /** With its password. Not for logs. */
  url: string;
  process: ProcessIdentity;
  port: number;
  /** In words: which binary runs, and whether it was found running. For the user's eyes. */
  origin: string;
  /** Stops the server and waits for its end. May be called again. */
  stop(): Promise<void>;
}

/** Receives one line on what is being done, when something takes more than a blink. */
export type OnProgress = (line: string) => void;
