// What can be said of deny.toml without cargo-deny and without a network: licences, sources and
// banned crates. `cargo metadata` comes by standard input.
// usage: cargo metadata --format-version 1 | node licences.mjs deny.toml
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";

const rules = readFileSync(process.argv[2], "utf8");
const list = (section, name) => {
  const body = rules.split(`[${section}]`)[1]?.split(/^\[/m)[0] ?? "";
  const found = body.match(new RegExp(`^${name} = \\[([\\s\\S]*?)^\\]`, "m"))?.[1] ?? "";
  return [...found.replace(/#.*$/gm, "").matchAll(/"([^"]+)"/g)].map(([, word]) => word);
};
const allowed = new Set(list("licenses", "allow"));
const banned = new Set(list("bans", "deny"));
if (!allowed.size || !banned.size) throw new Error("deny.toml was not understood");

// An SPDX expression: OR binds weaker than AND; the old way writes / for OR.
const passes = (expression) => {
  const words = expression.replace(/\//g, " OR ").match(/[()]|[^\s()]+/g) ?? [];
  let at = 0;
  const one = () => {
    if (words[at] === "(") {
      at += 1;
      const inner = either();
      at += 1;
      return inner;
    }
    const ok = allowed.has(words[at++]);
    if (words[at] === "WITH") at += 2;
    return ok;
  };
  const both = () => {
    let ok = one();
    while (words[at] === "AND") (at += 1), (ok = one() && ok);
    return ok;
  };
  const either = () => {
    let ok = both();
    while (words[at] === "OR") (at += 1), (ok = both() || ok);
    return ok;
  };
  return either();
};

// A package may name its licence by a file only. The MIT licence is known by its words, which are those of
// our own after the copyright line.
const grant = (file) =>
  readFileSync(file, "utf8").replace(/^[\s\S]*?(?=Permission is hereby)/, "").split(/\s+/).join(" ").trim();
const MIT = grant("LICENSE-MIT");
const named = ({ license, license_file, manifest_path }) => {
  if (license || !license_file) return license;
  return grant(join(dirname(manifest_path), license_file)) === MIT ? "MIT" : undefined;
};

const { packages } = JSON.parse(readFileSync(0, "utf8"));
const wrong = [];
for (const entry of packages) {
  const { name, version, source } = entry;
  const license = named(entry);
  const say = (what) => wrong.push(`${name} ${version}: ${what}`);
  if (banned.has(name)) say("is banned by deny.toml");
  if (source && source !== "registry+https://github.com/rust-lang/crates.io-index")
    say(`comes from ${source}`);
  if (!license) say("names no licence");
  else if (!passes(license)) say(`its licence ${license} is not among those that deny.toml allows`);
}
for (const line of wrong) console.error(line);
console.log(`${packages.length} packages looked at, ${wrong.length} refused`);
process.exit(wrong.length ? 1 : 0);
