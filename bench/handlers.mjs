/**
 * What the nodes of the benchmark do: nearly nothing, but what they pass on shows whether every step was made. In JavaScript: a
 * worker that loads TypeScript takes twice the time to start.
 */
export default {
  /** One more than the predecessor. */
  step: ({ data }) => ({ count: (data.count ?? 0) + 1 }),
  /** As many as all predecessors have together. */
  join: ({ data }) => ({ count: Object.values(data).reduce((total, { count }) => total + count, 0) }),
  /** A list of `size` items. */
  range: ({ params }) => Array.from({ length: params.size }, () => ({ count: 0 })),
  /** As many as all items of a list have together. */
  total: ({ data }) => ({ count: data.reduce((total, { count }) => total + count, 0) }),
  /** One more than the predecessor, and text of which this many bytes are of the run's input. */
  carry: ({ data, input, params }) => ({
    count: (data.count ?? 0) + 1,
    text: input.text.slice(0, params.bytes),
  }),
  /** When this handler was entered: microseconds of a clock that all processes of the machine share. */
  stamp: () => ({ at_us: Number(process.hrtime.bigint() / 1_000n) }),
};
