// Swim lanes by service. Everything received is put in as text; nothing of it is ever read as markup.

const MOST_ZOOM = 4096;

export default function timeline({ parentElement, data }) {
  const view = (parentElement.sagascopeTimeline ??= new View(parentElement));
  view.show(data);
  return () => {
    view.close();
    delete parentElement.sagascopeTimeline;
  };
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
    const tools = this.root.appendChild(make("div", "tl-tools"));
    this.legend = new Legend(tools);
    this.spansButton = makeButton("All spans", () => this.toggleSpans());
    tools.appendChild(make("div", "tl-buttons")).append(
      this.spansButton,
      makeButton("\u2212", () => this.zoomBy(0.5), "Zoom out"),
      makeButton("+", () => this.zoomBy(2), "Zoom in"),
      makeButton("Fit", () => this.fit(), "Show all of it"),
    );
    this.plot = this.root.appendChild(make("div", "tl-plot"));
    this.plot.setAttribute("role", "group");
    this.plot.setAttribute("aria-label",
      "Bars by service. Arrow keys move between bars, Enter shows one, plus and minus zoom, 0 shows all, Escape closes.");
    this.overview = new Overview(this.plot, (from, to) => this.showOnly(from, to), (pixels) => this.pan(pixels * this.zoom));
    this.axis = new Axis(this.plot, (from) => this.toggleStretch(from));
    this.lanes = this.plot.appendChild(make("div", "tl-lanes"));
    this.over = this.plot.appendChild(make("div", "tl-over"));
    this.links = this.over.appendChild(document.createElementNS(SVG, "svg"));
    this.links.setAttribute("aria-hidden", "true");
    this.now = this.over.appendChild(make("div", "tl-now"));
    this.now.appendChild(make("span", "", document.documentElement.dataset.present ? "saved" : "now"));
    this.over.append(this.axis.bands, this.axis.traces);
    this.rest = this.root.appendChild(make("p", "tl-rest"));
    this.detail = new Detail(this.root);
    this.words = new Words(this.root);
  }

  listen() {
    this.plot.addEventListener("keydown", (event) => this.pressed(event));
    this.plot.addEventListener("wheel", (event) => this.wheeled(event), { passive: false });
    this.plot.addEventListener("pointerdown", (event) => this.grabbed(event));
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
    this.legend.draw(data.bars);
    this.drawLanes();
    this.rest.textContent = this.rested();
    this.placeRows();
    this.place();
    if (this.selected) this.detail.show(data.bars.find((bar) => bar.id === this.selected));
    this.words.write(data.bars);
  }

  rested() {
    const said = [];
    if (this.data.remaining.length) said.push(`Not begun: ${this.data.remaining.join(", ")}.`);
    if (this.data.left_out) said.push(`${this.data.left_out.toLocaleString("en")} more spans are not drawn.`);
    return said.join(" ");
  }

  // --- lanes and bars ------------------------------------------------------------------------------

  drawLanes() {
    const old = new Map([...this.lanes.children].map((lane) => [lane.laneName, lane]));
    this.data.lanes.forEach((lane, index) => {
      const element = old.get(lane.name) ?? this.makeLane(lane);
      old.delete(lane.name);
      put(element.querySelector(".tl-note"), lane.note);
      // What stays in its place keeps its focus.
      if (this.lanes.children[index] !== element) this.lanes.insertBefore(element, this.lanes.children[index] ?? null);
    });
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
      const number = bar.tries > 1 || bar.number > 1 ? [make("b", "", String(bar.number))] : [];
      text.replaceChildren(...number, make("span", "", bar.kind === "wait" ? label : bar.label));
      if (bar.kind === "compensation") text.prepend(icon("undo"));
      if (bar.state === "error" && bar.kind !== "span") text.prepend(icon("cross"));
      element.textNeeds = this.measure(label) + 14 + 18 * text.querySelectorAll("svg").length;
    }
    say(element, sentence(bar));
    const marks = element.children[2];
    if (marks.childElementCount !== bar.marks.length) {
      marks.replaceChildren(...bar.marks.map((mark) => {
        const dot = make("i", `mark ${mark.level}`);
        dot.title = `${clockOf(mark.at, true)} ${mark.text}`;
        return dot;
      }));
    }
  }

  measure(label) {
    if (!this.pen) {
      this.pen = document.createElement("canvas").getContext("2d");
      const { fontFamily, fontSize } = getComputedStyle(this.root);
      this.pen.font = `600 ${0.84 * parseFloat(fontSize)}px ${fontFamily}`;
    }
    return this.pen.measureText(label).width;
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
    this.axis.place(this.parts, this.offset, width);
    this.axis.placeTraces(this.data.traces, this.scale, this.offset, width);
    this.placeLinks();
    this.overview.draw(this, inner);
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
      const seen = end > -4 && x < width + 4;
      if (seen !== element.seen) element.style.display = seen ? "" : "none";
      element.seen = seen;
      if (!seen) continue;
      const left = Math.max(x, -2);
      element.box = { x: left, width: Math.max(3, Math.min(end, width + 8) - left) };
      element.style.left = `${element.box.x}px`;
      element.style.width = `${element.box.width}px`;
      this.placeInside(element);
      const key = `${bar.lane}\n${bar.row}`;
      rows.get(key)?.push(element) ?? rows.set(key, [element]);
    }
    for (const row of rows.values()) this.placeTexts(row.sort((a, b) => a.box.x - b.box.x), width);
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
      const place = this.textPlace(element, row[index - 1]?.box, row[index + 1]?.box.x ?? width);
      if (element.textPlace !== place) element.children[1].className = `bar-text ${place}`;
      element.textPlace = place;
    });
  }

  textPlace({ bar, box, textNeeds }, previous, next) {
    if (bar.kind === "wait") return box.width > 40 ? "inside" : "none";
    if (bar.kind === "span" || bar.kind === "saga") return "none";
    if (box.width >= textNeeds) return "inside";
    if (next - box.x - box.width >= textNeeds) return "after";
    if (box.x - (previous ? previous.x + previous.width : 0) >= textNeeds) return "before";
    return box.width > 64 ? "inside" : box.width > 20 ? "inside tight" : "none";
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
    repeat(this.links, paths, () => document.createElementNS(SVG, "path"), (path, d) => path.setAttribute("d", d));
  }

  // --- what the reader does ------------------------------------------------------------------------

  toggleSpans() {
    this.spans = !this.spans;
    for (const [, element] of this.bars) element.hidden = element.bar.kind === "span" && !this.spans;
    this.spansButton.setAttribute("aria-pressed", String(this.spans));
    this.placeRows();
    this.place();
  }

  toggleStretch(from) {
    if (!this.opened.delete(from)) this.opened.add(from);
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

  // Zoom so that these moments lie at the two edges.
  showOnly(from, to) {
    const width = this.scale.width / this.zoom;
    let [low, high] = [1, MOST_ZOOM];
    for (let round = 0; round < 24; round += 1) {
      const middle = Math.sqrt(low * high);
      const tried = scale(this.parts, width * middle);
      if (tried.x(to) - tried.x(from) < width) low = middle; else high = middle;
    }
    this.zoom = low;
    this.place();
    this.offset = this.scale.x(from);
    this.place();
  }

  wheeled(event) {
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      this.zoomBy(Math.exp(-event.deltaY / 300), event.clientX - this.axis.root.getBoundingClientRect().left);
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
    this.detail.show(after?.bar);
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
}

const HEIGHT = { action: 28, compensation: 28, missing: 28, wait: 28, saga: 8, span: 12 };

const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
