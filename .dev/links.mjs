// Checks the links of Markdown files: relative ones must lead to a file, and to a heading in it
// where they name one. Links to the web are left alone, so that a check needs no network.
// usage: node links.mjs file.md…
import { existsSync, readFileSync, statSync } from "node:fs";
import path from "node:path";

const prose = (text) => text.replace(/^```[\s\S]*?^```/gm, "").replace(/`[^`\n]*`/g, "`");

// As GitHub makes anchors of headings: the second of one name gets -1.
const anchors = (file) => {
  const seen = new Map();
  const text = readFileSync(file, "utf8").replace(/^```[\s\S]*?^```/gm, "");
  return new Set(
    [...text.matchAll(/^#{1,6}\s+(.*?)\s*#*$/gm)].map(([, heading]) => {
      const plain = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, "$1").toLowerCase();
      const slug = plain.replace(/[^\p{L}\p{N}\s_-]/gu, "").trim().replace(/\s/g, "-");
      const times = seen.get(slug) ?? 0;
      seen.set(slug, times + 1);
      return times ? `${slug}-${times}` : slug;
    }),
  );
};

let checked = 0;
const broken = [];
for (const file of process.argv.slice(2)) {
  const text = prose(readFileSync(file, "utf8"));
  const inline = [...text.matchAll(/\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)/g)];
  const named = [...text.matchAll(/^\s{0,3}\[[^\]]+\]:\s*<?(\S+?)>?\s*$/gm)];
  for (const [, target] of [...inline, ...named]) {
    if (/^[a-z][a-z0-9+.-]*:/i.test(target)) continue;
    checked += 1;
    const [where, anchor] = target.split("#");
    const to = where ? path.join(path.dirname(file), decodeURIComponent(where)) : file;
    if (!existsSync(to)) broken.push(`${file}: ${target}: there is no ${to}`);
    else if (anchor && !(statSync(to).isFile() && to.endsWith(".md") && anchors(to).has(anchor)))
      broken.push(`${file}: ${target}: there is no such heading in ${to}`);
  }
}
for (const line of broken) console.error(line);
console.log(`${checked} links checked, ${broken.length} broken`);
process.exit(broken.length ? 1 : 0);
