/** Handlers that end their process, or never give it back, until `input.mended` exists, and one beside them. */
import { existsSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

const ENDS = {
  exit: () => process.exit(3),
  kill: () => process.kill(process.pid, "SIGKILL"),
  abort: () => process.abort(),
  spin: () => {
    for (;;);
  },
};

export async function deadly({ input, params }) {
  if (!existsSync(input.mended)) {
    ENDS[params.how]();
    await new Promise(() => {});
  }
  return { survived: true };
}

export async function innocent() {
  await sleep(100);
  return { innocent: true };
}
