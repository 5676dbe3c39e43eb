// Swim lanes by service. Everything received is put in as text; nothing of it is ever read as markup.

const MOST_ZOOM = 4096;
const KINDS = {
  action: "work", compensation: "undo", saga: "the transaction itself", span: "work inside a step",
  wait: "waiting", missing: "missing",
};

export default function timeline({ parentElement, data }) {
  const view = (parentElement.sagascopeTimeline ??= new View(parentElement));
  view.show(data);
  return () => {
    view.close();
    delete parentElement.sagascopeTimeline;
  };
}

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

class View {
  constructor(host) {
    this.opened = new Set();
    this.bars = new Map();
    this.zoom = 1;
    this.offset = 0;
    this.selected = null;
    this.spans = null;
    this.root = host.appendChild(make("section", "timeline"));
    this.root.setAttribute("aria-label", "Timeline");
    this.build();
    this.listen();
  }

  build() {
    this.tools = this.root.appendChild(make("div", "tl-tools"));
    this.legend = this.tools.appendChild(make("ul", "tl-legend"));
    this.legend.setAttribute("aria-label", "Legend");
    const buttons = this.tools.appendChild(make("div", "tl-buttons"));
    this.spansButton = this.button(buttons, "All spans", () => this.toggleSpans());
    this.button(buttons, "−", () => this.zoomBy(0.5), "Zoom out");
    this.button(buttons, "+", () => this.zoomBy(2), "Zoom in");
    this.button(buttons, "Fit", () => this.fit(), "Show all of it");
    this.plot = this.root.appendChild(make("div", "tl-plot"));
    this.plot.setAttribute("role", "group");
    this.plot.setAttribute("aria-label",
      "Bars by service. Arrow keys move between bars, Enter shows one, plus and minus zoom, 0 shows all, Escape closes.");
    this.axis = this.plot.appendChild(make("div", "tl-axis"));
    this.axis.setAttribute("aria-hidden", "true");
    this.lanes = this.plot.appendChild(make("div", "tl-lanes"));
    this.over = this.plot.appendChild(make("div", "tl-over"));
    this.links = this.over.appendChild(document.createElementNS(SVG, "svg"));
    this.links.setAttribute("aria-hidden", "true");
    this.now = this.over.appendChild(make("div", "tl-now"));
    this.now.appendChild(make("span", "", document.documentElement.dataset.present ? "saved" : "now"));
    this.quiet = this.over.appendChild(make("div", "tl-quiet"));
    this.rest = this.root.appendChild(make("p", "tl-rest"));
    this.detail = this.root.appendChild(make("div", "tl-detail"));
    this.detail.setAttribute("aria-live", "polite");
    this.text = this.root.appendChild(make("details", "tl-text"));
    this.text.appendChild(make("summary", "", "The timeline as text"));
    this.list = this.text.appendChild(make("ol"));
  }

  button(parent, text, act, label) {
    const button = parent.appendChild(make("button", "tl-button", text));
    button.type = "button";
    if (label) button.setAttribute("aria-label", label), (button.title = label);
    button.addEventListener("click", act);
    return button;
  }

  listen() {
    this.plot.addEventListener("keydown", (event) => this.pressed(event));
    this.plot.addEventListener("wheel", (event) => this.wheeled(event), { passive: false });
    this.plot.addEventListener("pointerdown", (event) => this.grabbed(event));
    this.text.addEventListener("toggle", () => this.write());
    this.jump = (event) => this.reveal(event.detail);
    window.addEventListener("sagascope:jump", this.jump);
    this.sizes = new ResizeObserver(() => this.place());
    this.sizes.observe(this.lanes);
    this.timer = setInterval(() => { if (this.data?.end === null && !document.hidden) this.place(); }, 1000);
  }

  close() {
    window.removeEventListener("sagascope:jump", this.jump);
    this.sizes.disconnect();
    clearInterval(this.timer);
    this.root.remove();
  }

  show(data) {
    this.data = data;
    const extra = data.bars.filter((bar) => bar.kind === "span").length;
    this.spans ??= extra <= 40;
    this.spansButton.hidden = extra === 0;
    this.spansButton.setAttribute("aria-pressed", String(this.spans));
    this.drawLegend();
    this.drawLanes();
    this.rest.textContent = this.rested();
    this.place();
    if (this.selected) this.describe(data.bars.find((bar) => bar.id === this.selected));
    this.write();
  }

  rested() {
    const said = [];
    if (this.data.remaining.length) said.push(`Not begun: ${this.data.remaining.join(", ")}.`);
    if (this.data.left_out) said.push(`${this.data.left_out.toLocaleString("en")} more spans are not drawn.`);
    return said.join(" ");
  }

  drawLegend() {
    const used = new Set(this.data.bars.map((bar) => signOf(bar)));
    if (this.data.bars.some((bar) => bar.heard !== null)) used.add("silent");
    if (this.data.bars.some((bar) => bar.marks.some((mark) => mark.level === "error"))) used.add("mark-error");
    if (this.data.bars.some((bar) => bar.marks.some((mark) => mark.level !== "error"))) used.add("mark-note");
    const wanted = LEGEND.filter(([sign]) => used.has(sign));
    if (this.legend.dataset.drawn === wanted.join()) return;
    this.legend.dataset.drawn = wanted.join();
    this.legend.replaceChildren(...wanted.map(([sign, word]) => {
      const item = make("li");
      item.appendChild(make("i", `swatch ${sign}`));
      item.appendChild(make("span", "", word));
      return item;
    }));
  }

  // --- lanes and bars ------------------------------------------------------------------------------

  drawLanes() {
    const old = new Map([...this.lanes.children].map((lane) => [lane.laneName, lane]));
    for (const lane of this.data.lanes) {
      const element = old.get(lane.name) ?? this.makeLane(lane);
      old.delete(lane.name);
      element.querySelector(".tl-note").textContent = lane.note;
      this.lanes.appendChild(element);
    }
    old.forEach((element) => element.remove());
    const tracks = new Map([...this.lanes.children].map((lane) => [lane.laneName, lane.lastChild]));
    const gone = new Set(this.bars.keys());
    for (const bar of this.data.bars) {
      gone.delete(bar.id);
      const element = this.bars.get(bar.id) ?? this.makeBar(bar);
      this.dress(element, bar);
      const track = tracks.get(bar.lane);
      if (element.parentNode !== track) track.appendChild(element);
    }
    for (const id of gone) { this.bars.get(id).remove(); this.bars.delete(id); }
    this.rove();
  }

  makeLane(lane) {
    const element = make("div", "tl-lane");
    element.laneName = lane.name;
    const head = element.appendChild(make("div", "tl-name"));
    head.appendChild(make("strong", "", lane.name));
    head.appendChild(make("span", "tl-note", lane.note));
    element.appendChild(make("div", "tl-track"));
    return element;
  }

  makeBar(bar) {
    const element = make("button", "bar");
    element.type = "button";
    element.tabIndex = -1;
    element.append(make("span", "bar-silent"), make("span", "bar-text"), make("span", "bar-marks"));
    element.addEventListener("click", () => this.select(bar.id));
    this.bars.set(bar.id, element);
    return element;
  }

  dress(element, bar) {
    element.bar = bar;
    element.className = `bar k-${bar.kind} s-${bar.state} ${signOf(bar)}${bar.end === null ? " live" : ""}${bar.id === this.selected ? " selected" : ""}`;
    element.hidden = bar.kind === "span" && !this.spans;
    const text = element.children[1];
    const label = labelOf(bar);
    if (text.dataset.label !== label) {
      text.dataset.label = label;
      text.replaceChildren(make("span", "", label));
      if (bar.kind === "compensation") text.prepend(icon("undo"));
      if (bar.state === "error" && bar.kind !== "span") text.prepend(icon("cross"));
      element.setAttribute("aria-label", sentence(bar));
      element.title = sentence(bar);
    }
    const marks = element.children[2];
    if (marks.childElementCount !== bar.marks.length) {
      marks.replaceChildren(...bar.marks.map((mark) => {
        const dot = make("i", `mark ${mark.level}`);
        dot.title = `${clockOf(mark.at, true)} ${mark.text}`;
        return dot;
      }));
    }
  }

  // --- places --------------------------------------------------------------------------------------

  place() {
    const track = this.lanes.querySelector(".tl-track");
    if (!this.data || !track) return;
    const width = track.clientWidth;
    if (width < 10) return;
    const now = Math.max(present(), this.data.start + 1);
    this.end = this.data.end ?? now;
    this.parts = stretches(this.data.start, Math.max(this.end, this.data.start + 1), this.data.quiet, this.opened);
    const inner = width - (this.data.end === null ? 46 : 12);
    this.scale = scale(this.parts, inner * this.zoom);
    this.offset = Math.max(0, Math.min(this.offset, inner * (this.zoom - 1)));
    this.root.style.setProperty("--gutter", `${track.offsetLeft}px`);
    this.root.classList.toggle("zoomed", this.zoom > 1);
    this.placeBars(width);
    this.placeAxis(width);
    this.placeQuiet(width);
    this.placeLinks();
    const x = this.scale.x(now) - this.offset;
    this.now.hidden = this.data.end !== null || x > width;
    this.now.style.left = `${x}px`;
  }

  placeBars(width) {
    const rows = new Map();
    for (const [, element] of this.bars) {
      if (element.hidden) continue;
      const { bar } = element;
      const x = this.scale.x(bar.start) - this.offset;
      const end = this.scale.x(bar.end ?? this.end) - this.offset;
      element.seen = end > -4 && x < width + 4;
      element.style.display = element.seen ? "" : "none";
      if (!element.seen) continue;
      const left = Math.max(x, -8);
      element.box = { x: left, width: Math.max(3, Math.min(end, width + 8) - left) };
      element.style.left = `${element.box.x}px`;
      element.style.width = `${element.box.width}px`;
      this.placeInside(element);
      const key = `${bar.lane}\n${bar.row}`;
      rows.get(key)?.push(element) ?? rows.set(key, [element]);
    }
    for (const row of rows.values()) this.placeTexts(row.sort((a, b) => a.box.x - b.box.x), width);
    this.placeRows();
  }

  placeInside(element) {
    const { bar, box } = element;
    const silent = element.children[0];
    silent.hidden = bar.heard === null;
    if (bar.heard !== null) silent.style.left = `${Math.max(0, this.scale.x(bar.heard) - this.offset - box.x)}px`;
    bar.marks.forEach((mark, index) => {
      const x = this.scale.x(mark.at) - this.offset - box.x;
      element.children[2].children[index].style.left = `${Math.max(0, Math.min(box.width, x))}px`;
    });
  }

  // A label inside its bar where it fits, else beside it where nothing else lies, else none.
  placeTexts(row, width) {
    row.forEach((element, index) => {
      const text = element.children[1];
      text.className = "bar-text";
      if (element.bar.kind === "wait" || element.bar.kind === "span" || element.bar.kind === "saga") {
        text.classList.add(element.bar.kind === "wait" && element.box.width > 40 ? "inside" : "none");
        return;
      }
      const needs = textWidth(text) + 14;
      const next = row[index + 1]?.box.x ?? width;
      const previous = row[index - 1]?.box;
      const before = element.box.x - (previous ? previous.x + previous.width : 0);
      if (element.box.width >= needs) text.classList.add("inside");
      else if (next - element.box.x - element.box.width >= needs) text.classList.add("after");
      else if (before >= needs) text.classList.add("before");
      else text.classList.add(element.box.width > 20 ? "inside" : "none");
    });
  }

  placeRows() {
    for (const lane of this.lanes.children) {
      let y = 6;
      const bars = [...lane.lastChild.children].filter((element) => !element.hidden);
      const heights = new Map();
      for (const { bar } of bars) heights.set(bar.row, Math.max(heights.get(bar.row) ?? 0, HEIGHT[bar.kind]));
      const tops = new Map();
      for (const row of [...heights.keys()].sort((a, b) => a - b)) {
        tops.set(row, y);
        y += heights.get(row) + 5;
      }
      for (const element of bars) element.style.top = `${tops.get(element.bar.row)}px`;
      lane.lastChild.style.height = `${y + 2}px`;
    }
  }

  placeAxis(width) {
    const marks = ticks(this.parts).map(({ x, label }) => ({ x: x - this.offset, label }))
      .filter(({ x }) => x >= -2 && x < width - 40);
    while (this.axis.children.length > marks.length) this.axis.lastChild.remove();
    marks.forEach(({ x, label }, index) => {
      const tick = this.axis.children[index] ?? this.axis.appendChild(make("span", "tick"));
      tick.style.left = `${x}px`;
      if (tick.textContent !== label) tick.textContent = label;
    });
  }

  placeQuiet(width) {
    const parts = this.parts.filter((part) => part.quiet);
    while (this.quiet.children.length > parts.length) this.quiet.lastChild.remove();
    parts.forEach((part, index) => {
      const band = this.quiet.children[index] ?? this.makeBand();
      const x = part.x - this.offset;
      band.stretch = part;
      band.hidden = x + part.width < 0 || x > width;
      band.className = part.squeezed ? "quiet" : "quiet open";
      band.style.left = `${x}px`;
      band.style.width = `${part.width}px`;
      const label = duration((part.to - part.from) / 1000);
      const button = band.firstChild;
      if (button.textContent !== label) button.textContent = label;
      const act = part.squeezed ? `Nothing happened for ${label}. Show at full length` : `Squeeze these ${label}`;
      if (button.title !== act) { button.title = act; button.setAttribute("aria-label", act); }
    });
  }

  makeBand() {
    const band = this.quiet.appendChild(make("div", "quiet"));
    this.button(band, "", () => {
      const { from } = band.stretch;
      if (!this.opened.delete(from)) this.opened.add(from);
      this.place();
    });
    return band;
  }

  placeLinks() {
    const origin = this.over.getBoundingClientRect();
    const paths = [];
    for (const [, element] of this.bars) {
      const target = element.bar.undoes && this.bars.get(element.bar.undoes);
      if (!target || !element.seen || !target.seen) continue;
      const from = target.getBoundingClientRect();
      const to = element.getBoundingClientRect();
      const [x1, y1] = [from.right - origin.left - 2, from.top + from.height / 2 - origin.top];
      const [x2, y2] = [to.left - origin.left + 2, to.top + to.height / 2 - origin.top];
      const bend = Math.max(24, Math.min(90, Math.abs(x2 - x1) / 2));
      paths.push(`M${x2} ${y2}C${x2 - bend} ${y2 - 22} ${x1 + bend} ${y1 - 22} ${x1} ${y1}`);
    }
    while (this.links.children.length > paths.length) this.links.lastChild.remove();
    paths.forEach((d, index) => {
      const path = this.links.children[index] ?? this.links.appendChild(document.createElementNS(SVG, "path"));
      path.setAttribute("d", d);
    });
  }

  // --- what the reader does ------------------------------------------------------------------------

  toggleSpans() {
    this.spans = !this.spans;
    for (const [, element] of this.bars) element.hidden = element.bar.kind === "span" && !this.spans;
    this.spansButton.setAttribute("aria-pressed", String(this.spans));
    this.place();
  }

  fit() {
    this.zoom = 1;
    this.offset = 0;
    this.place();
  }

  zoomBy(factor, at = null) {
    const width = this.scale.width / this.zoom;
    const pixel = at ?? width / 2;
    const moment = this.scale.at(pixel + this.offset);
    this.zoom = Math.max(1, Math.min(MOST_ZOOM, this.zoom * factor));
    this.place();
    this.offset = this.scale.x(moment) - pixel;
    this.place();
  }

  wheeled(event) {
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      this.zoomBy(Math.exp(-event.deltaY / 300), event.clientX - this.axis.getBoundingClientRect().left);
    } else if (this.zoom > 1 && Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      this.pan(event.deltaX);
    }
  }

  pan(pixels) {
    this.offset += pixels;
    this.place();
  }

  grabbed(event) {
    if (this.zoom === 1 || event.button || event.target.closest("button")) return;
    let last = event.clientX;
    const move = (moved) => { this.pan(last - moved.clientX); last = moved.clientX; };
    const drop = () => { window.removeEventListener("pointermove", move); window.removeEventListener("pointerup", drop); };
    window.addEventListener("pointermove", move);
    window.addEventListener("pointerup", drop);
  }

  pressed(event) {
    const acts = {
      ArrowRight: () => (event.shiftKey ? this.pan(80) : this.step(1)),
      ArrowLeft: () => (event.shiftKey ? this.pan(-80) : this.step(-1)),
      ArrowDown: () => this.cross(1),
      ArrowUp: () => this.cross(-1),
      Home: () => this.focus(this.visible()[0]),
      End: () => this.focus(this.visible().at(-1)),
      "+": () => this.zoomBy(2),
      "=": () => this.zoomBy(2),
      "-": () => this.zoomBy(0.5),
      0: () => this.fit(),
      Escape: () => this.select(null),
    };
    if (!acts[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    acts[event.key]();
  }

  visible() {
    return this.data.bars.map((bar) => this.bars.get(bar.id)).filter((element) => !element.hidden && element.bar.kind !== "wait");
  }

  step(by) {
    const bars = this.visible();
    const index = bars.indexOf(document.activeElement);
    this.focus(bars[Math.max(0, Math.min(bars.length - 1, index + by))]);
  }

  cross(by) {
    const from = document.activeElement?.bar;
    if (!from) return this.step(by);
    const names = this.data.lanes.map((lane) => lane.name);
    const lane = names[names.indexOf(from.lane) + by];
    const near = this.visible().filter((element) => element.bar.lane === lane);
    near.sort((a, b) => Math.abs(a.bar.start - from.start) - Math.abs(b.bar.start - from.start));
    this.focus(near[0]);
  }

  focus(element) {
    if (!element) return;
    if (!element.seen) this.centre(element.bar);
    this.rove(element);
    element.focus({ preventScroll: false });
  }

  // One bar at a time is in the order of the Tab key; the arrow keys reach the others.
  rove(element) {
    const bars = [...this.bars.values()];
    const current = element ?? bars.find((one) => one.tabIndex === 0) ?? this.visible()[0];
    for (const one of bars) if (one !== current && one.tabIndex === 0) one.tabIndex = -1;
    if (current) current.tabIndex = 0;
  }

  centre(bar) {
    this.offset = this.scale.x(bar.start) - this.scale.width / this.zoom / 2;
    this.place();
  }

  select(id) {
    const before = this.bars.get(this.selected);
    this.selected = id === this.selected ? null : id;
    const after = this.bars.get(this.selected);
    before?.classList.remove("selected");
    after?.classList.add("selected");
    if (after) this.rove(after);
    this.describe(after?.bar);
  }

  reveal(id) {
    const element = this.bars.get(id);
    if (!element) return;
    if (element.hidden) this.toggleSpans();
    if (!element.seen) this.centre(element.bar);
    if (this.selected !== id) this.select(id);
    this.plot.scrollIntoView({ block: "center", behavior: calm() ? "auto" : "smooth" });
    element.focus({ preventScroll: true });
  }

  // --- words ---------------------------------------------------------------------------------------

  describe(bar) {
    if (!bar) return this.detail.replaceChildren();
    const card = make("article", "tl-card");
    card.appendChild(make("h4", "", labelOf(bar)));
    card.appendChild(make("p", "tl-said", sentence(bar)));
    const facts = card.appendChild(make("dl"));
    for (const [name, value] of [["Service", bar.lane], ["Began", exact(new Date(bar.start))], ...bar.facts]) {
      facts.append(make("dt", "", name), make("dd", "", value));
    }
    if (bar.marks.length) {
      const marks = card.appendChild(make("ul", "tl-log"));
      for (const mark of bar.marks.slice(0, 30)) {
        const item = marks.appendChild(make("li", mark.level));
        item.append(make("span", "tl-clock", clockOf(mark.at, true)), make("span", "", mark.text));
      }
    }
    if (bar.stack) card.appendChild(make("pre", "", bar.stack)).tabIndex = 0;
    if (this.detail.textContent !== card.textContent) this.detail.replaceChildren(card);
  }

  write() {
    if (!this.text.open || !this.data) return;
    const bars = this.data.bars.filter((bar) => bar.kind !== "span" || bar.state === "error");
    const lines = bars.map((bar) => `${clockOf(bar.start, true)} ${sentence(bar)}`);
    while (this.list.children.length > lines.length) this.list.lastChild.remove();
    lines.forEach((line, index) => {
      const item = this.list.children[index] ?? this.list.appendChild(make("li"));
      if (item.textContent !== line) item.textContent = line;
    });
  }
}

const HEIGHT = { action: 28, compensation: 28, missing: 28, wait: 28, saga: 8, span: 12 };
const LEGEND = [
  ["t-work", "working"], ["t-good", "done"], ["t-fail", "failed"], ["t-unknown", "outcome unknown"],
  ["t-undo", "undo"], ["t-wait", "waiting"], ["t-missing", "missing"], ["silent", "silent"],
  ["mark-note", "log line"], ["mark-error", "error"],
];

// What a bar looks like: colour and texture by kind and state, as in the legend.
function signOf(bar) {
  if (bar.kind === "wait" || bar.kind === "missing") return `t-${bar.kind}`;
  if (bar.kind === "saga" || bar.kind === "span") return bar.state === "error" ? "t-thin t-fail-thin" : "t-thin";
  if (bar.state === "error") return "t-fail";
  if (bar.state === "unknown") return "t-unknown";
  if (bar.kind === "compensation") return "t-undo";
  return bar.state === "in_flight" ? "t-work" : "t-good";
}

function labelOf(bar) {
  if (bar.kind === "wait") return bar.end === null ? "waiting" : duration((bar.end - bar.start) / 1000);
  return bar.tries > 1 || bar.number > 1 ? `${bar.number} · ${bar.label}` : bar.label;
}

function sentence(bar) {
  const took = bar.end === null ? `since ${clockOf(bar.start)}` : `took ${duration((bar.end - bar.start) / 1000)}`;
  const which = bar.tries > 1 || bar.number > 1 ? `, attempt ${bar.number}` : "";
  const heard = bar.heard === null ? "" : `; its process is silent since ${clockOf(bar.heard)}`;
  return `${bar.label}${which} in ${bar.lane} (${KINDS[bar.kind]}): ${bar.word.toLowerCase()}, ${took}${heard}.`;
}

const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

const measured = new Map();
let pen;
function textWidth(element) {
  const label = element.dataset.label;
  if (!measured.has(label)) {
    pen ??= document.createElement("canvas").getContext("2d");
    pen.font = getComputedStyle(element).font;
    measured.set(label, pen.measureText(label).width + 18 * element.querySelectorAll("svg").length);
  }
  return measured.get(label);
}
