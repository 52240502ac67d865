// Small things the page does without the server: fill in a cell's code, press a tab's buttons, Shift+Enter, the address.
window.retsynth = {
  literal(value) {  // as Python writes it
    if (value === null || value === undefined || value === "") return "None";
    if (value === true) return "True";
    if (value === false) return "False";
    return typeof value === "string" ? "'" + value.replace(/[\\']/g, "\\$&") + "'" : String(value);
  },
  fill(code, names, values, kinds) {
    const none = (value, kind) => kind === 2 && value < 0;
    const given = Object.fromEntries(names.map((name, i) => [name, none(values[i], kinds[i]) ? null : kinds[i] ? this.whole(values[i]) : values[i]]));
    return code.split("\n").flatMap((line) => {
      const condition = line.match(/^\[(!?)(\w+)\]/);
      if (!condition) return [line];
      const set = Boolean(given[condition[2]]);
      return set === Boolean(condition[1]) ? [] : [line.slice(condition[0].length)];
    }).join("\n").replace(/\{(\w+)\}/g, (_, name) => this.literal(given[name]));
  },
  highlight(code) {
    const kinds = [["comment", /#.*/], ["string", /'(?:\\.|[^'\\])*'/], ["keyword", /\b(?:from|import|for|in|as|None|True|False)\b/], ["number", /\b\d+(?:\.\d+)?\b/]];
    const any = new RegExp(kinds.map(([, pattern]) => `(${pattern.source})`).join("|"), "g");
    return code.replace(/[&<>]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[sign])
      .replace(any, (found, ...groups) => `<span class="${kinds[groups.findIndex((group) => group === found)][0]}">${found}</span>`);
  },
  settled(code, names, kinds, state, note, values) {  // a run is over
    if (/^stopping/.test(state)) return [state.replace(/^stopping/, "stopped"), { text: "Stopped" }];
    const changed = note.values && this.fill(code, names, values, kinds) !== this.fill(code, names, note.values, kinds);
    return [changed ? state.replace(/^done/, "stale") : state, note];
  },
  download() {  // the notebook file, once gradio has told the hidden button of it
    requestAnimationFrame(() => setTimeout(() => document.querySelector("#notebook-file").click()));
  },
  turn: 0,
  async press(name) {  // in the cells in view; Run one after another, until the tool bar is used again
    const turn = ++this.turn, state = (cell) => cell.querySelector("[data-state]").dataset.state;
    const until = async (met) => { while (!met()) await new Promise((next) => setTimeout(next, 30)); };
    for (const button of [...document.querySelectorAll(`.cell button.${name}`)].filter((each) => each.checkVisibility())) {
      button.click();
      if (name !== "run") continue;
      const cell = button.closest(".cell"), late = Date.now() + 1000, busy = () => /^(running|stopping)$/.test(state(cell));
      await until(() => busy() || Date.now() > late || turn !== this.turn);
      await until(() => !busy() || turn !== this.turn);
      if (turn !== this.turn) return;
    }
  },
  async mounted() {  // a tab is built some time after it is chosen
    const asked = new URLSearchParams(location.search).get("tab"), there = asked === "draw" ? "button.plant" : ".cell";
    while (![...document.querySelectorAll(there)].some((element) => element.checkVisibility())) await new Promise((next) => setTimeout(next, 30));
  },
  opened: false,
  used: false,  // a visitor who was quicker than the page keeps what was chosen
  seed() {  // the one that the address asks for: ?seed=7
    const seed = new URLSearchParams(location.search).get("seed") ?? "";
    return /^\d{1,10}$/.test(seed) && Number(seed) < 2 ** 32 ? Number(seed) : null;
  },
  asked(seeds) {  // for both boxes
    return this.opened || this.used || this.seed() === null ? seeds : seeds.map(() => this.seed());
  },
  open() {  // what the address asked for is there; one with a seed asks for its picture too
    if (this.opened) return;  // the page came back to a server that was started anew
    this.opened = true;
    const draws = this.tab() === "draw";
    if (!this.used && this.seed() !== null) document.querySelector(draws ? "button.plant" : "#cell-generate button.run")?.click();
    if (draws) this.lead(null);  // a reload brings the drawing back, not the tree it began with
  },
  keep(look) {  // of the drawing; canvas.js keeps the drawing
    try { if (this.opened) sessionStorage.setItem("retsynth-look", JSON.stringify(look)); } catch { /* private window, as in canvas.js */ }
  },
  kept() {
    try { return this.opened ? null : JSON.parse(sessionStorage.getItem("retsynth-look")); } catch { return null; }
  },
  led: null,
  lead(seed) {  // let the address lead to the eye of a seed, or to none
    const url = new URL(location);
    this.led = seed;
    seed === null ? url.searchParams.delete("seed") : url.searchParams.set("seed", seed);
    history.replaceState(null, "", url);
    document.querySelector("#cell-generate")?.classList.toggle("leads", seed !== null);
  },
  whole(value) {  // as Python rounds, a half to the even number
    return typeof value !== "number" ? value : Math.abs(value % 1) === 0.5 ? 2 * Math.round(value / 2) : Math.round(value);
  },
  async copy(element, text) {
    const button = element.querySelector(".copy");
    const done = await navigator.clipboard?.writeText(text).then(() => true, () => false);
    // a page on plain http may not write to the clipboard: what is selected, Ctrl+C copies
    if (!done) getSelection().selectAllChildren(element.querySelector("code"));
    button.textContent = done ? "Copied" : "Selected";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  },
  share(state, seed, prior, temperature, eye, style) {  // once an eye is made, the address leads back to it, if a seed is all that it takes
    if (/^running/.test(state)) this.fresh(false);
    if (this.opened && state === "idle") this.lead(null);  // the output was cleared
    if (!this.opened || this.tab() !== "generate" || !/^done/.test(state)) return;
    const usual = prior === "flow" && temperature === 1 && eye === "any" && (style ?? -1) < 0;
    this.lead(usual ? this.whole(seed) : null);
  },
  show(cell) {  // scroll to what its run gives, unless the first of it is in view
    const note = cell?.querySelector(".note-block"), seen = cell?.querySelector(".pictures img")?.closest("button");
    if (!note || Math.max(note.getBoundingClientRect().bottom + 150, seen?.getBoundingClientRect().bottom ?? 0) < innerHeight) return;
    note.scrollIntoView({ block: "start", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "instant" : "smooth" });
  },
  async arrive(name) {  // at the cell of another tab, which is built some time after it is chosen, and which runs
    const cell = () => document.querySelector(`#cell-${name}`);
    for (let wait = 0; wait < 100 && !cell()?.checkVisibility(); wait++) await new Promise((next) => setTimeout(next, 30));
    this.show(cell());
  },
  follow(state, seed, [way, from, near, of]) {  // the cells below begin with the eye that was made, until they have run
    const begin = (other, own) => /^done/.test(state) && other === "idle" ? this.whole(seed) : own;
    return [begin(way, from), begin(near, of)];
  },
  pause() {  // the film, or let it go on
    const film = document.querySelector(".film img"), { moving, still } = film?.dataset ?? {};
    if (!film) return;
    if (still && film.src === still) {
      film.src = moving;
      return;
    }
    const canvas = Object.assign(document.createElement("canvas"), { width: film.naturalWidth, height: film.naturalHeight });
    canvas.getContext("2d").drawImage(film, 0, 0);  // of what moves, the first picture
    film.dataset.moving = film.src;
    film.src = film.dataset.still = canvas.toDataURL();
  },
  fresh(is) {  // whether the eyes in view are this run's: until its first one is there, the last run's are dimmed
    document.querySelector("#cell-generate").classList.toggle("fresh", is);
  },
  tabs: { generate: "Generate", draw: "Draw or upload", enlarge: "Super-resolve", compare: "Compare", about: "About" },
  tab() { return new URLSearchParams(location.search).get("tab") ?? "generate"; },
  address(tab) {  // of the tab in view, once the visitor chooses it and not the page while it builds
    if (!this.opened || this.tab() === tab) return;
    const url = new URL(location);
    url.searchParams.delete("seed");
    url.searchParams.set("tab", tab);
    if (tab === "generate" && this.led !== null) url.searchParams.set("seed", this.led);  // its eye is still there
    history.pushState(null, "", url);
  },
  theme() {
    const dark = document.body.classList.toggle("dark");
    try { localStorage.setItem("retsynth-theme", dark ? "dark" : "light"); } catch { /* private window: it lasts until the page is left */ }
  },
};
// gradio's foldable parts do not tell a screen reader whether they are open, but by a class
new MutationObserver((changes) => {
  const parts = changes.flatMap(({ type, target, addedNodes }) => type === "attributes" ? [target] : [...addedNodes]);
  for (const part of parts.filter((node) => node.nodeType === 1)) {
    for (const head of [part, ...part.querySelectorAll("button.label-wrap")]) {
      if (!head.matches("button.label-wrap")) continue;
      const open = String(head.classList.contains("open"));
      if (head.getAttribute("aria-expanded") !== open) head.setAttribute("aria-expanded", open);
      head.querySelector(".icon")?.setAttribute("aria-hidden", "true");
    }
  }
}).observe(document.documentElement, { subtree: true, childList: true, attributes: true, attributeFilter: ["class"] });
try {  // gradio has put this script into the page after it chose a theme of its own
  const theme = new URLSearchParams(location.search).has("__theme") ? null : localStorage.getItem("retsynth-theme");
  if (theme) document.body.classList.toggle("dark", theme === "dark");
} catch { /* as above */ }
addEventListener("popstate", () => {  // Back and Forward go from tab to tab; those that do not fit are in a menu
  const tab = retsynth.tab(), menu = [...document.querySelectorAll(".overflow-dropdown button")];
  (document.querySelector(`[data-tab-id="${tab}"]`) ?? menu.find((button) => button.textContent.trim() === retsynth.tabs[tab]))?.click();
});
for (const kind of ["click", "input"]) addEventListener(kind, (event) => {
  if (event.isTrusted && event.target.closest?.(".cell")) retsynth.used = true;
}, true);
addEventListener("click", (event) => {  // what a run gives may lie below: on a phone it always does
  if (event.isTrusted) retsynth.show(event.target.closest?.("button.run, button.new, button.example")?.closest(".cell"));
});
addEventListener("keydown", (event) => {
  const run = event.shiftKey && event.key === "Enter" && event.target.closest?.(".cell")?.querySelector("button.run");
  if (run) {
    event.preventDefault();
    run.click();
  }
});
// The divider of the images can be dragged, and gradio tells nobody: the slider below them follows.
addEventListener("pointerdown", (event) => {
  if (!event.target.closest?.("#before-after")) return;
  addEventListener("pointerup", () => {
    const place = document.querySelector("#before-after img.fixed")?.style.clipPath.match(/([\d.]+)%\)$/);
    const range = document.querySelector("#divider input[type=range]");
    if (!place || !range) return;
    range.value = Math.round(place[1]);
    range.dispatchEvent(new Event("input", { bubbles: true }));
  }, { once: true, capture: true });
}, true);
