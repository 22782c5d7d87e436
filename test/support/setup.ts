/** Before each test file. */
import { constants, setPriority } from "node:os";
import fc from "fast-check";
import { expect } from "vitest";

// Properties are tried on the same samples in every run, so that who changed nothing sees nothing new. HITZERO_SIMULATION_SEED chooses others.
fc.configureGlobal({ seed: Number(process.env.HITZERO_SIMULATION_SEED ?? 2026) });

// The whole run takes as long as its longest file: on a busy machine the others, and the processes that they start, give way to it.
const LONGEST = "/simulation/faults.test.ts";
if (!expect.getState().testPath?.endsWith(LONGEST)) setPriority(constants.priority.PRIORITY_LOW);
