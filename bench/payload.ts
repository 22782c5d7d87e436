/** What one run of a long chain moves through Redis: a large definition, a large input that every node reads, and its outputs. */
import { pause } from "../src/base/wait.ts";
import type { Ledger } from "./ledger.ts";
import { type Meter, usedBetween } from "./meter.ts";
import { checkRecord, untilAllFinal } from "./record_check.ts";
import type { Rig } from "./rig.ts";
import { type Spread, spreadOf } from "./statistics.ts";
import { SETTLE_MS } from "./throughput.ts";
import { payloads } from "./workloads.ts";

export interface PayloadSizes {
  nodes: number;
  definitionBytes: number;
  inputBytes: number;
  /** Of each node. */
  outputBytes: number;
}

export interface Payload {
  title: string;
  nodes: number;
  /** Of the workflow file as JSON, and of the run's input as JSON. */
  definition_bytes: number;
  input_bytes: number;
  /** Of each node. */
  output_bytes: number;
  /** Over the network, by all clients, for one run. */
  redis_received: Spread;
  redis_sent: Spread;
  redis_both: Spread;
}

const POLL_MS = 20;

/** Runs with small outputs, then runs whose nodes all return what they read. */
export async function measurePayload(
  rig: Rig,
  meter: Meter,
  ledger: Ledger,
  sizes: PayloadSizes,
  samples: number,
): Promise<Payload[]> {
  const { inputBytes, outputBytes } = sizes;
  const small = await measureCase(
    rig,
    meter,
    ledger,
    sizes,
    `outputs of ${shownBytes(outputBytes)}`,
    samples,
  );
  const title = "each node returns the input";
  const large = await measureCase(rig, meter, ledger, { ...sizes, outputBytes: inputBytes }, title, samples);
  return [small, large];
}

function shownBytes(bytes: number): string {
  return `${bytes / 1_000} KB`;
}

/** Every sample is the only run of a new workflow: what is sent once for a workflow is in its bytes. */
async function measureCase(
  rig: Rig,
  meter: Meter,
  ledger: Ledger,
  sizes: PayloadSizes,
  title: string,
  samples: number,
): Promise<Payload> {
  const { nodes, inputBytes, outputBytes } = sizes;
  const input = { text: "x".repeat(inputBytes) };
  const taken: { received: number; sent: number }[] = [];
  let definition = "";
  for (let sample = 1; sample <= samples; sample += 1) {
    const name = `payload-${outputBytes}-${sample}`;
    const document = payloads(name, sizes);
    definition = JSON.stringify(document);
    const workflow = await rig.client.register(document);
    const before = await meter.read();
    await rig.client.submit(workflow, { input });
    await untilAllFinal(rig, POLL_MS);
    await pause(SETTLE_MS);
    const { bytes } = usedBetween(before, await meter.read());
    taken.push({ received: bytes.redis_received, sent: bytes.redis_sent });
    const expected = { runs: 1, steps: nodes };
    ledger.add(expected);
    await checkRecord(rig, expected, name, nodes);
  }
  return {
    title,
    nodes,
    definition_bytes: Buffer.byteLength(definition),
    input_bytes: Buffer.byteLength(JSON.stringify(input)),
    output_bytes: outputBytes,
    redis_received: spreadOf(taken.map(({ received }) => received)),
    redis_sent: spreadOf(taken.map(({ sent }) => sent)),
    redis_both: spreadOf(taken.map(({ received, sent }) => received + sent)),
  };
}
