"use strict";
(() => {
  const reports = JSON.parse(document.getElementById("data").textContent);
  const STATUSES = ["passed", "failed", "ignored"];
  const $ = (id) => document.getElementById(id);

  /** An element with attributes and children; text is only ever set as text. */
  function el(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  }

  const seconds = (ms) => {
    if (ms < 1) return "<1 ms";
    return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)} s`;
  };
  const topicOf = (path) => path.slice(0, Math.max(0, path.lastIndexOf("::")));
  const shortName = (path) => path.slice(path.lastIndexOf("::") + 2).replace(/^[a-z0-9]+_/, "").replaceAll("_", " ");
  const count = (cases, status) => cases.filter((c) => c.status === status).length;

  // One column per adapter and variant; one row per case, in the order in which they are listed.
  const columns = reports.flatMap((report) => {
    const variants = [...new Set(report.cases.map((c) => c.variant))];
    return variants.map((variant, at) => ({ report, variant, first: at === 0, of: variants.length }));
  });
  const rows = new Map();
  for (const report of reports) {
    for (const result of report.cases) {
      if (!rows.has(result.path)) rows.set(result.path, { ...result, results: new Map() });
      rows.get(result.path).results.set(`${report.adapter}\n${result.variant}`, result);
    }
  }
  const topics = new Map();
  for (const row of rows.values()) {
    const topic = topicOf(row.path);
    if (!topics.has(topic)) topics.set(topic, []);
    topics.get(topic).push(row);
  }

  function drawAdapters() {
    for (const report of reports) {
      const failed = count(report.cases, "failed");
      const counts = el("div", { class: "counts" });
      const bar = el("div", { class: "bar" });
      for (const status of STATUSES) {
        const n = count(report.cases, status);
        counts.append(el("span", { class: n ? status : "none" }, el("b", {}, String(n)), ` ${status}`));
        if (n) bar.append(el("i", { class: status, style: `flex-grow:${n}` }));
      }
      const facts = [new Date(report.started_at_unix_ms).toLocaleString(), `seed ${report.seed}`];
      if (report.quick) facts.push("quick run");
      if (report.filtered_out) facts.push(`${report.filtered_out} filtered out`);
      const head = el("h3", {}, report.adapter, el("small", {}, seconds(report.duration_ms)));
      $("adapters").append(el("div", { class: failed ? "adapter bad" : "adapter" },
        head, counts, bar, el("p", { title: facts.join("\n") }, facts.join(" · "))));
    }
  }

  function drawHead() {
    const adapters = el("tr", {}, el("th", { class: "name", rowspan: "2", scope: "col" }, "case"));
    const variants = el("tr");
    for (const { report, variant, first, of } of columns) {
      if (first) {
        adapters.append(el("th", { class: "of-adapter first", colspan: String(of), scope: "colgroup" }, report.adapter));
      }
      variants.append(el("th", { class: first ? "of-variant first" : "of-variant", scope: "col" }, variant));
    }
    $("matrix").tHead.append(adapters, variants);
  }

  function drawCell(row, column) {
    const cell = el("td", column.first ? { class: "first" } : {});
    const result = row.results.get(`${column.report.adapter}\n${column.variant}`);
    if (!result) {
      cell.classList.add("absent");
      cell.append("–");
      return cell;
    }
    const mark = { passed: "✓", failed: "✗", ignored: "○" }[result.status];
    const label = result.status === "ignored" ? "ignored" : seconds(result.duration_ms);
    const button = el("button", {
      type: "button", class: result.status, "data-name": result.name, "data-adapter": column.report.adapter,
      "aria-pressed": "false", "aria-label": `${column.report.adapter} ${result.name}: ${result.status}`,
    }, `${mark} ${label}`);
    button.addEventListener("click", () => choose(button, result, column.report));
    cell.append(button);
    return cell;
  }

  const drawn = [];
  function drawBody() {
    const body = $("matrix").tBodies[0];
    for (const [topic, cases] of topics) {
      const head = el("tr", { class: "topic" },
        el("th", { colspan: String(columns.length + 1), scope: "rowgroup" }, el("span", {}, topic.replaceAll("::", " › "))));
      body.append(head);
      const lines = [];
      for (const row of cases) {
        const line = el("tr", { class: "case", "data-path": row.path },
          el("th", { class: "name", scope: "row" }, el("code", {}, row.id), shortName(row.path), el("small", {}, row.goal)),
          ...columns.map((column) => drawCell(row, column)));
        body.append(line);
        const text = `${row.id} ${row.path} ${shortName(row.path)} ${row.goal}`.toLowerCase();
        lines.push({ line, text, statuses: new Set([...row.results.values()].map((r) => r.status)) });
      }
      drawn.push({ head, lines });
    }
  }

  function filter() {
    const words = $("text").value.toLowerCase().split(/\s+/).filter(Boolean);
    const status = document.querySelector("input[name=status]:checked").value;
    let shown = 0;
    for (const { head, lines } of drawn) {
      let any = false;
      for (const { line, text, statuses } of lines) {
        const fits = words.every((word) => text.includes(word)) && (status === "all" || statuses.has(status));
        line.hidden = !fits;
        any ||= fits;
        shown += fits ? 1 : 0;
      }
      head.hidden = !any;
    }
    $("nothing").hidden = shown > 0;
    $("shown").textContent = `${shown} of ${rows.size} cases`;
  }

  let chosen = null;
  function choose(button, result, report) {
    if (chosen === button) return close();
    chosen?.setAttribute("aria-pressed", "false");
    chosen = button;
    button.setAttribute("aria-pressed", "true");
    $("detail-title").textContent = `${result.id} on ${report.adapter}, ${result.variant}: ${result.status}`;
    const facts = el("dl");
    const fact = (name, value) => value && facts.append(el("dt", {}, name), el("dd", {}, value));
    fact("name", result.name);
    fact("goal", result.goal);
    fact("contract", result.contract);
    fact("took", result.status === "ignored" ? "" : seconds(result.duration_ms));
    fact("ignored, because", result.ignore_reason);
    $("detail-body").replaceChildren(facts);
    if (result.failure) $("detail-body").append(el("pre", {}, result.failure.text || result.failure.seen));
    $("detail").hidden = false;
    button.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
  function close() {
    chosen?.setAttribute("aria-pressed", "false");
    chosen?.focus();
    chosen = null;
    $("detail").hidden = true;
  }

  /** The browser's own storage may be refused for a page opened from a file. */
  const kept = {
    get: () => { try { return localStorage.getItem("theme"); } catch { return null; } },
    set: (theme) => { try { localStorage.setItem("theme", theme); } catch { /* not kept */ } },
  };
  function theme(name) {
    if (name) document.documentElement.dataset.theme = name;
  }
  $("theme").addEventListener("click", () => {
    const dark = getComputedStyle(document.documentElement).colorScheme === "dark";
    const next = dark ? "light" : "dark";
    theme(next);
    kept.set(next);
  });
  $("filters").addEventListener("input", filter);
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("detail-close").addEventListener("click", close);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") close(); });

  theme(kept.get());
  drawAdapters();
  drawHead();
  drawBody();
  filter();
})();
