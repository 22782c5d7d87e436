/** Properties are tried on the same samples in every run, so that who changed nothing sees nothing new. HITZERO_SIMULATION_SEED chooses others. */
import fc from "fast-check";

fc.configureGlobal({ seed: Number(process.env.HITZERO_SIMULATION_SEED ?? 2026) });
