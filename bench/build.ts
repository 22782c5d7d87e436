/** The benchmark measures what is shipped: the build. */
import { existsSync, readdirSync, statSync } from "node:fs";
import { join, resolve } from "node:path";

const ROOT = resolve(import.meta.dirname, "..");

function changedAt(path: string): number {
  return statSync(path).mtimeMs;
}

/**
 * Tells when sources changed after the build.
 * @throws Error when there is no build
 */
export function requireBuild(onNotice: (line: string) => void): void {
  const built = join(ROOT, "dist/cli/main.js");
  if (!existsSync(built)) throw new Error("there is no build: run `npm run build` first");
  const newer = readdirSync(join(ROOT, "src"), { recursive: true, encoding: "utf8" }).find(
    (file) => file.endsWith(".ts") && changedAt(join(ROOT, "src", file)) > changedAt(built),
  );
  if (newer !== undefined)
    onNotice(
      `src/${newer} is newer than the build, and the build is what is measured: run \`npm run build\``,
    );
}
