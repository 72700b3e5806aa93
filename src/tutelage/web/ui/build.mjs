// Builds ../static/rating.js and ../static/rating.css; their first line holds the digest of the sources they came from,
// so that a test without Node can tell when they are out of date.
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, statSync } from "node:fs";
import { build } from "esbuild";

const files = readdirSync("src").filter((name) => statSync(`src/${name}`).isFile()).sort();
const digest = createHash("sha256");
for (const name of [...files.map((name) => `src/${name}`), "package-lock.json"]) digest.update(readFileSync(name));
const banner = `/* built from web/ui, sources ${digest.digest("hex").slice(0, 16)} */`;

await build({
  entryPoints: { rating: "src/main.tsx" },
  outdir: "../static",
  bundle: true,
  minify: true,
  format: "iife",
  target: ["es2022"],
  charset: "utf8",
  legalComments: "none",
  banner: { js: banner, css: banner },
  logLevel: "info",
});
