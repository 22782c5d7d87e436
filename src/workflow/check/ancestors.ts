/** Answers many questions "is A an ancestor of B?" about one acyclic graph. */
import type { Graph, Link } from "../graph.ts";

interface AncestorQuestion {
  /** Would-be ancestor. */
  ancestor: number;
  node: number;
}

/** Would-be ancestors followed in one sweep, as bits: eight words of 32. */
const WORDS = 8;
const BITS = WORDS * 32;

/**
 * Answers each question. All ancestors asked for are followed together, 256 in one sweep over the graph, so that q questions
 * cost q/256 sweeps at worst; most need none, as a node's direct predecessors are looked at first.
 */
export function areAncestors(
  graph: Graph,
  order: readonly number[],
  questions: readonly AncestorQuestion[],
): boolean[] {
  const rank = new Array<number>(graph.size).fill(0);
  for (const [place, node] of order.entries()) rank[node] = place;
  const answers = questions.map(({ ancestor, node }) =>
    (graph.in[node] as Link[]).some((link) => link.from === ancestor),
  );
  const open = questions
    .map((question, index) => ({ ...question, index }))
    .filter(
      ({ ancestor, node, index }) => !answers[index] && (rank[ancestor] as number) < (rank[node] as number),
    );
  const wanted = [...new Set(open.map((question) => question.ancestor))];
  for (let first = 0; first < wanted.length; first += BITS) {
    const bitOf = new Map(wanted.slice(first, first + BITS).map((ancestor, bit) => [ancestor, bit]));
    const asked = open.filter((question) => bitOf.has(question.ancestor));
    const masks = sweep(graph, order, bitOf);
    for (const { ancestor, node, index } of asked) {
      const bit = bitOf.get(ancestor) as number;
      answers[index] = (((masks[node * WORDS + (bit >> 5)] as number) >>> (bit & 31)) & 1) === 1;
    }
  }
  return answers;
}

/** For each node, the bits of those of `bitOf` that lead to it. */
function sweep(graph: Graph, order: readonly number[], bitOf: ReadonlyMap<number, number>): Uint32Array {
  const masks = new Uint32Array(graph.size * WORDS);
  const own = new Uint32Array(WORDS);
  for (const node of order) {
    own.fill(0);
    const bit = bitOf.get(node);
    if (bit !== undefined) own[bit >> 5] = 1 << (bit & 31);
    for (const { to } of graph.out[node] as Link[]) {
      for (let word = 0; word < WORDS; word++) {
        masks[to * WORDS + word] =
          (masks[to * WORDS + word] as number) |
          (masks[node * WORDS + word] as number) |
          (own[word] as number);
      }
    }
  }
  return masks;
}
