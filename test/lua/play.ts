/** One run played by hand, each execution by its key. */
import type { FinishedItem } from "../../src/redis/calls.ts";
import { readReady } from "../../src/redis/ready.ts";
import { functionOf } from "../../src/workflow/ir/function_of.ts";
import type { IRNode } from "../../src/workflow/ir/ir.ts";
import { advance, claim, finished, type Game, tokens, type Waiting, WORKER, words } from "./game.ts";

/** How an execution ends that fails without anybody to handle it. */
export const FAILED: Partial<FinishedItem> = {
  outcome: "F",
  arrivals: "X",
  unhandled: true,
  output: 'e{"error":{}}',
  outputInJournal: false,
};

/** A game of which the test says who does what, by id; the tokens that came are kept until they are claimed. */
export class Play {
  readonly game: Game;
  readonly #tokens = new Map<string, Waiting>();

  constructor(game: Game) {
    this.game = game;
  }

  #keyOf({ node, scope }: Waiting) {
    const id = this.game.ir.nodes[node]?.id as string;
    return scope === "" ? id : `${id}@${scope}`;
  }

  token(key: string): Waiting {
    return this.#tokens.get(key) as Waiting;
  }

  /** What came into the ready stream since it was asked last. */
  async came(): Promise<string[]> {
    const list = (await tokens(this.game)).filter(({ kind }) => kind === "execution");
    for (const token of list) this.#tokens.set(this.#keyOf(token), token);
    return list.map((token) => this.#keyOf(token));
  }

  async claims(key: string, more: object = {}): Promise<string> {
    const answer = await claim(this.game, [this.token(key)], more);
    return answer.reply.claims[0]?.word as string;
  }

  /** A worker that does not offer its function comes upon it, and one that does is given it. */
  async moves(key: string): Promise<string> {
    const { game } = this;
    const token = this.token(key);
    const functionName = functionOf(game.ir.nodes[token.node] as IRNode) as string;
    const { reply } = await claim(game, [{ ...token, unoffered: functionName }]);
    const { queue } = token;
    const streams = [{ partition: game.partition, queue, functionName }];
    const [found] = await readReady(game.partition.connection, streams, WORKER, { count: 1, blockMs: 1 });
    if (found) this.#tokens.set(key, { ...token, ...found });
    return reply.claims[0]?.word as string;
  }

  ends(key: string, how: Partial<FinishedItem> = {}): Promise<string> {
    return this.endsAs(this.token(key), how);
  }

  async endsAs(token: Waiting, how: Partial<FinishedItem> = {}): Promise<string> {
    return words(await advance(this.game, [finished(this.game, token, how)]))[0] as string;
  }

  /** Claims all that came, in one call. */
  async takesUp(): Promise<Record<string, string>> {
    const keys = await this.came();
    const { reply } = await claim(
      this.game,
      keys.map((key) => this.token(key)),
    );
    return Object.fromEntries(keys.map((key, index) => [key, reply.claims[index]?.word as string]));
  }
}
