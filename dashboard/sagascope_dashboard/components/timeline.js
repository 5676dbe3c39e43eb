// Swim lanes by service. Received values become text, never markup.

const MAX_ZOOM = 4096;

export default function renderTimeline({ parentElement, data, setTriggerValue }) {
  const view = (parentElement.sagascopeTimeline ??= new TimelineView(parentElement));
  view.choices.update(data, setTriggerValue);
  view.show(data);
  return () => {
    view.close();
    delete parentElement.sagascopeTimeline;
  };
}

class TimelineView {
  constructor(host) {
    this.choices = new Choices();
    this.opened = new Set();
    this.collapsed = new Set();
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
    this.foldButton = makeButton("Fold attempts", () => this.choices.send(""));
    this.lanesButton = makeButton("Collapse lanes", () => this.toggleLanes());
    tools.appendChild(make("div", "tl-buttons")).append(
      this.foldButton,
      this.lanesButton,
      this.spansButton,
      makeButton("\u2212", () => this.zoomBy(0.5), "Zoom out"),
      makeButton("+", () => this.zoomBy(2), "Zoom in"),
      makeButton("Fit", () => this.fit(), "Fit the whole timeline"),
      ...(isSaved() ? [] : [makeButton("?", () => window.dispatchEvent(new Event("sagascope:keys")), "Keyboard")]),
    );
    this.plot = this.root.appendChild(make("div", "tl-plot"));
    this.plot.setAttribute("role", "group");
    this.plot.setAttribute("aria-label",
      "Bars by service. Arrow keys move between bars, Enter shows one, plus and minus zoom, 0 fits the whole timeline, Escape closes.");
    this.overview = new Overview(this.plot, (from, to) => this.showOnly(from, to), (pixels) => this.pan(pixels * this.zoom));
    this.axis = new Axis(this.plot, (from) => this.toggleIdleGap(from));
    this.lanes = this.plot.appendChild(make("div", "tl-lanes"));
    this.overlay = this.plot.appendChild(make("div", "tl-overlay"));
    this.links = this.overlay.appendChild(document.createElementNS(SVG, "svg"));
    this.links.setAttribute("aria-hidden", "true");
    this.now = this.overlay.appendChild(make("div", "tl-now"));
    this.now.appendChild(make("span", "", isSaved() ? "saved" : "now"));
    this.overlay.append(this.axis.idleGaps, this.axis.traces);
    this.footer = this.root.appendChild(make("p", "tl-footer"));
    this.detail = new Detail(this.root);
    this.text = new TextTimeline(this.root);
  }

  listen() {
    this.plot.addEventListener("keydown", (event) => this.onKeyDown(event));
    this.plot.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
    this.plot.addEventListener("pointerdown", (event) => this.onPointerDown(event));
    this.onJump = (event) => this.reveal(event.detail);
    window.addEventListener("sagascope:jump", this.onJump);
    this.onZone = () => this.show(this.data);
    window.addEventListener("sagascope:zone", this.onZone);
    this.resizeObserver = new ResizeObserver(() => this.layout());
    this.resizeObserver.observe(this.lanes);
    this.timer = setInterval(() => { if (this.data?.end === null && !document.hidden) this.layout(); }, 1000);
  }

  close() {
    window.removeEventListener("sagascope:jump", this.onJump);
    window.removeEventListener("sagascope:zone", this.onZone);
    this.resizeObserver.disconnect();
    clearInterval(this.timer);
    this.choices.close();
    this.root.remove();
  }

  show(data) {
    this.data = data;
    if (data.utc !== undefined) setZone(data.utc);
    if (this.isUtc !== isUtc()) this.forgetBars();
    this.isUtc = isUtc();
    const extra = data.bars.filter((bar) => bar.kind === "span").length;
    this.spans ??= extra <= 40;
    this.spansButton.hidden = extra === 0;
    this.spansButton.setAttribute("aria-pressed", String(this.spans));
    this.foldButton.hidden = !data.is_unfolded;
    this.legend.update(data.bars);
    this.updateLanes();
    this.footer.textContent = this.footerText();
    this.layoutRows();
    this.layout();
    this.focusUnfolded();
    if (this.selected) this.detail.show(data.bars.find((bar) => bar.id === this.selected));
    this.text.write(data.bars);
  }

  // Their texts hold times in another zone.
  forgetBars() {
    for (const [, element] of this.bars) element.remove();
    this.bars.clear();
    this.detail.show(null);
  }

  footerText() {
    const sentences = [];
    if (this.data.remaining.length) sentences.push(`Not started: ${this.data.remaining.join(", ")}.`);
    if (this.data.left_out) sentences.push(`${this.data.left_out.toLocaleString("en")} more spans are not shown.`);
    return sentences.join(" ");
  }

  // --- lanes and bars ------------------------------------------------------------------------------

  updateLanes() {
    const previous = new Map([...this.lanes.children].map((lane) => [lane.laneName, lane]));
    this.data.lanes.forEach((lane, index) => {
      const element = previous.get(lane.name) ?? this.makeLane(lane);
      previous.delete(lane.name);
      setText(element.querySelector(".tl-note"), lane.note);
      // A lane that stays in its position keeps its focus.
      if (this.lanes.children[index] !== element) this.lanes.insertBefore(element, this.lanes.children[index] ?? null);
    });
    previous.forEach((element) => element.remove());
    const tracks = new Map([...this.lanes.children].map((lane) => [lane.laneName, lane.lastChild]));
    const removed = new Set(this.bars.keys());
    for (const bar of this.data.bars) {
      if (bar.kind === "span" && !this.spans) continue;
      removed.delete(bar.id);
      const element = this.bars.get(bar.id) ?? this.makeBar(bar);
      this.updateBar(element, bar);
      const track = tracks.get(bar.lane);
      if (element.parentNode !== track) track.appendChild(element);
    }
    for (const id of removed) { this.bars.get(id).remove(); this.bars.delete(id); }
    this.moveTabStop();
  }

  makeLane(lane) {
    const element = make("div", "tl-lane");
    element.laneName = lane.name;
    const head = element.appendChild(make("div", "tl-name"));
    const name = head.appendChild(make("strong")).appendChild(make("button", "tl-collapse", lane.name));
    name.type = "button";
    name.addEventListener("click", () => this.toggleLane(lane.name));
    head.appendChild(make("span", "tl-note", lane.note));
    element.appendChild(make("div", "tl-track"));
    return element;
  }

  makeBar(bar) {
    const element = make("button", "bar");
    element.type = "button";
    element.tabIndex = -1;
    element.text = element.appendChild(make("span", "bar-text none"));
    element.notReporting = null; // made when they are needed: of thousands of bars, few have any
    element.marks = null;
    element.isNumbered = false;
    element.labelPosition = "none"; // until it is placed: most labels of many bars never are
    element.addEventListener("click", () => (element.bar.folded ? this.unfold(element.bar.step) : this.select(bar.id)));
    this.bars.set(bar.id, element);
    return element;
  }

  updateBar(element, bar) {
    element.bar = bar;
    element.className = `bar k-${bar.kind} s-${bar.state} ${styleOf(bar)}${bar.end === null ? " in-flight" : ""}${bar.folded ? " folded" : ""}${bar.critical ? " critical" : ""}${bar.id === this.selected ? " selected" : ""}`;
    const { text } = element;
    const label = labelOf(bar);
    if (text.dataset.label !== label) {
      text.dataset.label = label;
      const number = !bar.folded && (bar.attempts > 1 || bar.number > 1) ? [make("b", "", String(bar.number))] : [];
      if (element.isNumbered !== number.length > 0) element.labelPosition = null; // its class says so
      element.isNumbered = number.length > 0;
      text.replaceChildren(...number, make("span", "", bar.kind === "wait" || bar.folded ? label : bar.label));
      if (bar.kind === "compensation") text.prepend(icon("compensating"));
      if (bar.state === "error" && bar.kind !== "span") text.prepend(icon("cross"));
      element.labelWidth = this.measure(label) + 14 + 18 * text.querySelectorAll("svg").length;
    }
    setLabel(element, sentence(bar));
    if ((element.marks?.children.length ?? 0) !== bar.marks.length) {
      element.marks ??= element.appendChild(make("span", "bar-marks"));
      element.marks.replaceChildren(...bar.marks.map((mark) => {
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

  // --- layout --------------------------------------------------------------------------------------

  layout() {
    const track = this.lanes.querySelector(".tl-track");
    if (!this.data || !track) return;
    const width = track.clientWidth;
    if (width < 10) return;
    const now = Math.max(present(), this.data.start + 1);
    this.end = this.data.end ?? now;
    this.segments = makeSegments(this.data.start, Math.max(this.end, this.data.start + 1), this.data.idle, this.opened);
    const inner = width - (this.data.end === null ? 46 : 12);
    this.scale = scale(this.segments, inner * this.zoom);
    this.offset = Math.max(0, Math.min(this.offset, inner * (this.zoom - 1)));
    this.root.style.setProperty("--gutter", `${track.offsetLeft}px`);
    this.root.classList.toggle("zoomed", this.zoom > 1);
    this.layoutBars(width);
    this.axis.layout(this.segments, this.offset, width);
    this.axis.layoutTraces(this.data.traces, this.scale, this.offset, width);
    this.layoutLinks();
    this.overview.update(this, inner);
    const x = this.scale.x(now) - this.offset;
    this.now.hidden = this.data.end !== null || x > width;
    this.now.style.left = `${x}px`;
  }

  layoutBars(width) {
    const rows = new Map();
    for (const [, element] of this.bars) {
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
      this.layoutMarks(element);
      const key = `${bar.lane}\n${bar.row}`;
      rows.get(key)?.push(element) ?? rows.set(key, [element]);
    }
    for (const row of rows.values()) this.layoutLabels(row.sort((a, b) => a.box.x - b.box.x), width);
  }

  layoutMarks(element) {
    const { bar, box } = element;
    if (bar.last_seen === null) {
      element.notReporting?.remove();
      element.notReporting = null;
    } else {
      if (!element.notReporting) element.prepend(element.notReporting = make("span", "bar-not-reporting"));
      element.notReporting.style.left = `${Math.max(0, this.scale.x(bar.last_seen) - this.offset - box.x)}px`;
    }
    bar.marks.forEach((mark, index) => {
      const x = this.scale.x(mark.at) - this.offset - box.x;
      element.marks.children[index].style.left = `${Math.max(0, Math.min(box.width, x))}px`;
    });
  }

  // A label lies inside its bar if it fits, else beside it if that space is free, else it is hidden.
  layoutLabels(row, width) {
    row.forEach((element, index) => {
      const place = this.labelPosition(element, row[index - 1]?.box, row[index + 1]?.box.x ?? width);
      if (element.labelPosition !== place) element.text.className = `bar-text ${place}${element.isNumbered ? " numbered" : ""}`;
      element.labelPosition = place;
    });
  }

  labelPosition({ bar, box, labelWidth }, previous, next) {
    if (bar.kind === "wait") return box.width > 40 ? "inside" : "none";
    if (bar.kind === "span" || bar.kind === "saga") return "none";
    if (box.width >= labelWidth) return "inside";
    if (next - box.x - box.width >= labelWidth) return "after";
    if (box.x - (previous ? previous.x + previous.width : 0) >= labelWidth) return "before";
    return box.width > 64 ? "inside" : box.width > 20 ? "inside tight" : "none";
  }

  layoutRows() {
    this.lanesButton.hidden = this.lanes.childElementCount < 2 && !this.collapsed.size;
    setText(this.lanesButton, this.collapsed.size ? "Expand lanes" : "Collapse lanes");
    for (const lane of this.lanes.children) {
      let y = 6;
      const isCollapsed = this.collapsed.has(lane.laneName);
      lane.classList.toggle("collapsed", isCollapsed);
      lane.querySelector(".tl-collapse").setAttribute("aria-expanded", String(!isCollapsed));
      const bars = [...lane.lastChild.children].filter((element) => !element.hidden);
      const heights = new Map();
      for (const { bar } of bars) heights.set(bar.row, Math.max(heights.get(bar.row) ?? 0, HEIGHT[bar.kind]));
      const tops = new Map();
      for (const row of [...heights.keys()].sort((a, b) => a - b)) {
        tops.set(row, y);
        if (!isCollapsed) y += heights.get(row) + 5;
      }
      if (isCollapsed) y += 8;
      for (const element of bars) element.style.top = `${tops.get(element.bar.row)}px`;
      lane.lastChild.style.height = `${y + 2}px`;
    }
  }

  layoutLinks() {
    const origin = this.overlay.getBoundingClientRect();
    const paths = [];
    for (const [, element] of this.bars) {
      const target = element.bar.compensates && this.bars.get(element.bar.compensates);
      if (!target || !element.seen || !target.seen) continue;
      const from = target.getBoundingClientRect();
      const to = element.getBoundingClientRect();
      const [x1, y1] = [from.right - origin.left - 2, from.top + from.height / 2 - origin.top];
      const [x2, y2] = [to.left - origin.left + 2, to.top + to.height / 2 - origin.top];
      const bend = Math.max(24, Math.min(90, Math.abs(x2 - x1) / 2));
      paths.push(`M${x2} ${y2}C${x2 - bend} ${y2 - 22} ${x1 + bend} ${y1 - 22} ${x1} ${y1}`);
    }
    syncChildren(this.links, paths, () => document.createElementNS(SVG, "path"), (path, d) => path.setAttribute("d", d));
  }

  // --- interaction ------------------------------------------------------------------------

  // The server sends all of many spans only to a reader who asks for them.
  toggleSpans() {
    this.spans = !this.spans;
    if (this.spans && !this.data.has_all) this.choices.send("spans");
    this.updateLanes();
    this.spansButton.setAttribute("aria-pressed", String(this.spans));
    this.layoutRows();
    this.layout();
  }

  toggleLane(name) {
    if (!this.collapsed.delete(name)) this.collapsed.add(name);
    this.layoutRows();
    this.layout();
  }

  toggleLanes() {
    this.collapsed = new Set(this.collapsed.size ? [] : this.data.lanes.map((lane) => lane.name));
    this.layoutRows();
    this.layout();
  }

  // Folded attempts are not here: the server sends them, and the focus goes to the first of them.
  unfold(step) {
    this.unfolding = step;
    this.choices.send(step);
  }

  focusUnfolded() {
    const own = this.data.bars.filter((bar) => bar.step === this.unfolding && bar.kind !== "wait");
    if (!own.length || own.some((bar) => bar.folded)) return;
    this.unfolding = null;
    this.focus(this.bars.get(own[1].id));
  }

  toggleIdleGap(from) {
    if (!this.opened.delete(from)) this.opened.add(from);
    this.layout();
  }

  fit() {
    this.zoom = 1;
    this.offset = 0;
    this.layout();
  }

  zoomBy(factor, at = null) {
    const width = this.scale.width / this.zoom;
    const pixel = at ?? width / 2;
    const time = this.scale.at(pixel + this.offset);
    this.zoom = Math.max(1, Math.min(MAX_ZOOM, this.zoom * factor));
    this.layout();
    this.offset = this.scale.x(time) - pixel;
    this.layout();
  }

  // Zooms so that these times lie at the two edges.
  showOnly(from, to) {
    const width = this.scale.width / this.zoom;
    let [low, high] = [1, MAX_ZOOM];
    for (let iteration = 0; iteration < 24; iteration += 1) {
      const middle = Math.sqrt(low * high);
      const candidate = scale(this.segments, width * middle);
      if (candidate.x(to) - candidate.x(from) < width) low = middle; else high = middle;
    }
    this.zoom = low;
    this.layout();
    this.offset = this.scale.x(from);
    this.layout();
  }

  onWheel(event) {
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
    this.layout();
  }

  onPointerDown(event) {
    if (this.zoom === 1 || event.button || event.target.closest("button")) return;
    let last = event.clientX;
    const move = (moved) => { this.pan(last - moved.clientX); last = moved.clientX; };
    const drop = () => { window.removeEventListener("pointermove", move); window.removeEventListener("pointerup", drop); };
    window.addEventListener("pointermove", move);
    window.addEventListener("pointerup", drop);
  }

  onKeyDown(event) {
    const actions = {
      ArrowRight: () => (event.shiftKey ? this.pan(80) : this.focusNext(1)),
      ArrowLeft: () => (event.shiftKey ? this.pan(-80) : this.focusNext(-1)),
      ArrowDown: () => this.focusLane(1),
      ArrowUp: () => this.focusLane(-1),
      Home: () => this.focus(this.visible()[0]),
      End: () => this.focus(this.visible().at(-1)),
      "+": () => this.zoomBy(2),
      "=": () => this.zoomBy(2),
      "-": () => this.zoomBy(0.5),
      0: () => this.fit(),
      Escape: () => this.select(null),
    };
    if (!actions[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    actions[event.key]();
  }

  visible() {
    return this.data.bars.map((bar) => this.bars.get(bar.id)).filter((element) => element && element.bar.kind !== "wait");
  }

  focusNext(by) {
    const bars = this.visible();
    const index = bars.indexOf(document.activeElement);
    this.focus(bars[Math.max(0, Math.min(bars.length - 1, index + by))]);
  }

  focusLane(by) {
    const from = document.activeElement?.bar;
    if (!from) return this.focusNext(by);
    const names = this.data.lanes.map((lane) => lane.name);
    const lane = names[names.indexOf(from.lane) + by];
    const near = this.visible().filter((element) => element.bar.lane === lane);
    near.sort((a, b) => Math.abs(a.bar.start - from.start) - Math.abs(b.bar.start - from.start));
    this.focus(near[0]);
  }

  focus(element) {
    if (!element) return;
    if (!element.seen) this.center(element.bar);
    this.moveTabStop(element);
    element.focus({ preventScroll: false });
  }

  // One bar at a time is a tab stop; the arrow keys reach the others.
  moveTabStop(element) {
    const bars = [...this.bars.values()];
    const current = element ?? bars.find((one) => one.tabIndex === 0) ?? this.visible()[0];
    for (const one of bars) if (one !== current && one.tabIndex === 0) one.tabIndex = -1;
    if (current) current.tabIndex = 0;
  }

  center(bar) {
    this.offset = this.scale.x(bar.start) - this.scale.width / this.zoom / 2;
    this.layout();
  }

  select(id) {
    const before = this.bars.get(this.selected);
    this.selected = id === this.selected ? null : id;
    const after = this.bars.get(this.selected);
    before?.classList.remove("selected");
    after?.classList.add("selected");
    if (after) this.moveTabStop(after);
    this.detail.show(after?.bar);
  }

  reveal(span) {
    const id = this.data.substitute_bars[span] ?? span;
    if (!this.spans && this.data.bars.some((bar) => bar.id === id && bar.kind === "span")) this.toggleSpans();
    const element = this.bars.get(id);
    if (!element) return;
    if (this.collapsed.has(element.bar.lane)) this.toggleLane(element.bar.lane);
    if (!element.seen) this.center(element.bar);
    if (this.selected !== id) this.select(id);
    this.plot.scrollIntoView({ block: "center", behavior: prefersReducedMotion() ? "auto" : "smooth" });
    element.focus({ preventScroll: true });
  }
}

const HEIGHT = { action: 28, compensation: 28, missing: 28, wait: 28, saga: 8, span: 12 };

const prefersReducedMotion = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
