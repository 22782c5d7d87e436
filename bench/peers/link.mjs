/**
 * How a process of a peer talks with the benchmark, over Node's channel between parent and child.
 *
 * It says `{ready}` once it serves. It is told `{expect: {runs, stamps}}` before each sample and answers `{expecting}`; told
 * `{submit: {work, runs}}` it submits them and says `{submitted}`. The process that learns of a run's end counts it and says
 * `{ended}` after the last. Told `{collect}` it says `{stamps}`. Times are microseconds of a clock that all processes of the machine share.
 */
export const nowUs = () => Number(process.hrtime.bigint() / 1_000n);

let left = 0;
let stamps = null;

/** Notes when a step was entered, if the benchmark wants to know. */
export function stamp() {
  stamps?.push(nowUs());
}

/** A run has ended, as far as this engine reports it. */
export function countEnd() {
  left -= 1;
  if (left === 0) process.send({ ended: nowUs() });
}

/**
 * Serves the benchmark until it goes away.
 * @param submit submits so many runs of a work: `chain`, `fan` or `single`
 */
export function serve(submit) {
  process.on("message", async ({ expect, submit: order, collect }) => {
    try {
      if (expect) {
        left = expect.runs;
        stamps = expect.stamps ? [] : null;
        process.send({ expecting: true });
      }
      if (order) {
        await submit(order.work, order.runs);
        process.send({ submitted: nowUs() });
      }
      if (collect) process.send({ stamps: stamps ?? [] });
    } catch (error) {
      fail(error);
    }
  });
  process.once("disconnect", () => process.exit(0));
  process.send({ ready: true });
}

/** Ends the process: a sample with a failed run has measured nothing. */
export function fail(error) {
  console.error(error);
  process.exit(1);
}

/** Calls `work` so often, so many at once. */
export async function repeat(times, atOnce, work) {
  let begun = 0;
  const some = async () => {
    while (begun < times) {
      begun += 1;
      await work();
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, times) }, some));
}

export const CHAIN_LENGTH = 10;
export const FAN_WIDTH = 50;
