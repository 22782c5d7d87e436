/** A handler that kills its worker until `input.mended` exists. */
import { existsSync } from "node:fs";

export async function deadly({ input }) {
  if (!existsSync(input.mended)) {
    process.kill(process.pid, "SIGKILL");
    await new Promise(() => {});
  }
  return { survived: true };
}
