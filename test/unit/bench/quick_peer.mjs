/** An engine that does everything at once, for `node quick_peer.mjs worker|mute|dying|mortal`; the mortal one dies at its third order. */
import { CHAIN_LENGTH, countEnd, fail, serve, stamp } from "../../../bench/peers/link.mjs";

const [role] = process.argv.slice(2);
if (role === "dying") fail("no such server");
let orders = 0;
serve((kind, runs) => {
  orders += 1;
  if (role === "mortal" && orders === 3) {
    console.error("this is all I have to say");
    process.exit(3);
  }
  for (let run = 0; run < runs; run += 1) {
    for (let step = 0; kind === "chain" && step < CHAIN_LENGTH; step += 1) stamp();
    if (role !== "mute") countEnd();
  }
});
