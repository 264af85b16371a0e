// Counts words that this project does not use in prose and comments (CONTRIBUTING.md, "Words").
// `.dev/words.allow` holds how many are left, a file a line. No file may have more than it says, so the
// number only falls; a file that is not in the list may have none.
// usage: node words.mjs check|write
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";

const BANNED =
  /\b(whoever|whom|nobody|somebody|told|tells|anew|mend(?:s|ed|ing)?|taught|so many (?:rows|tries|times)|is over|by (?:tokio|sqlx|rusqlite)[a-z-]*)\b|(?<!\bin )\bflights?\b/gi;
const LIST = ".dev/words.allow";

const files = execFileSync("git", ["ls-files", "*.md", "*.rs"], { encoding: "utf8" })
  .split("\n")
  .filter(Boolean);

// What a reader reads: all of a page without its code, and the comments of a source file.
const prose = (file, text) =>
  (file.endsWith(".md")
    ? text.replace(/^```[\s\S]*?^```/gm, "")
    : text
        .split("\n")
        .map((line) => line.match(/^\s*\/\/[/!]?(.*)$/)?.[1] ?? "")
        .join("\n")
  ).replace(/`[^`\n]*`/g, "``");

const found = new Map();
for (const file of files) {
  const count = [...prose(file, readFileSync(file, "utf8")).matchAll(BANNED)].length;
  if (count) found.set(file, count);
}
const total = [...found.values()].reduce((sum, count) => sum + count, 0);

if (process.argv[2] === "write") {
  const lines = [...found].sort().map(([file, count]) => `${count} ${file}\n`);
  writeFileSync(LIST, lines.join(""));
  console.log(`${total} words in ${found.size} files`);
} else {
  const allowed = new Map(
    readFileSync(LIST, "utf8")
      .split("\n")
      .filter(Boolean)
      .map((line) => [line.slice(line.indexOf(" ") + 1), Number(line.slice(0, line.indexOf(" ")))]),
  );
  let wrong = 0;
  for (const [file, have] of found) {
    const may = allowed.get(file) ?? 0;
    if (have <= may) continue;
    wrong += 1;
    console.error(`${file}: ${have} words of the list, ${may} are allowed`);
  }
  console.log(`${total} words of the list are left, ${wrong} files have more than ${LIST} allows`);
  if (wrong) {
    console.error("reword what you added; CONTRIBUTING.md says how this project speaks");
    process.exit(1);
  }
}
