/** A handler that kills its worker until `input.mended` exists. */
import { existsSync } from "node:fs";

export async function deadly({ input }: { input: unknown }): Promise<{ survived: true }> {
  if (!existsSync((input as { mended: string }).mended)) {
    process.kill(process.pid, "SIGKILL");
    await new Promise(() => {});
  }
  return { survived: true };
}
