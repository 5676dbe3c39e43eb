// The whole timeline in a strip: drag across it to zoom to a part, drag the window to move it.
// Joined before timeline.js.

const OVERVIEW_HEIGHT = 26;

class Overview {
  constructor(parent, choose, move) {
    this.root = parent.appendChild(document.createElement("div"));
    this.root.className = "tl-overview";
    this.root.setAttribute("aria-hidden", "true");
    this.canvas = this.root.appendChild(document.createElement("canvas"));
    this.window = this.root.appendChild(document.createElement("div"));
    this.window.className = "tl-window";
    this.choose = choose;
    this.move = move;
    this.root.addEventListener("pointerdown", (event) => this.onPointerDown(event));
  }

  // `view` is the timeline; its segments are laid out at `width` pixels, without its zoom.
  update(view, width) {
    const state = JSON.stringify([view.segments.map(({ from, to, collapsed }) => [from, to, collapsed]), width]);
    if (state === this.renderedState && view.data === this.data) return this.layout(view, width);
    [this.renderedState, this.data] = [state, view.data];
    this.scale = scale(view.segments.map((segment) => ({ ...segment })), width);
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = width * ratio;
    this.canvas.height = OVERVIEW_HEIGHT * ratio;
    this.canvas.style.width = `${width}px`;
    const pen = this.canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const lanes = new Map(view.data.lanes.map((lane, index) => [lane.name, index]));
    const step = (OVERVIEW_HEIGHT - 6) / Math.max(1, lanes.size);
    const colours = new Map();
    for (const bar of view.data.bars) {
      if (bar.kind === "wait" || bar.kind === "span") continue;
      const x = this.scale.x(bar.start);
      pen.fillStyle = this.colour(colours, view.bars.get(bar.id));
      pen.fillRect(x, 3 + lanes.get(bar.lane) * step, Math.max(2, this.scale.x(bar.end ?? view.end) - x), Math.min(5, step - 1));
    }
    this.layout(view, width);
  }

  colour(known, element) {
    const { className } = element;
    if (!known.has(className)) known.set(className, getComputedStyle(element).getPropertyValue("--fill") || "gray");
    return known.get(className);
  }

  layout(view, width) {
    const left = this.scale.x(view.scale.at(view.offset));
    const right = this.scale.x(view.scale.at(view.offset + width));
    this.window.hidden = view.zoom <= 1;
    this.window.style.left = `${left}px`;
    this.window.style.width = `${Math.max(6, right - left)}px`;
  }

  onPointerDown(event) {
    if (event.button) return;
    event.preventDefault();
    const { left } = this.root.getBoundingClientRect();
    if (event.target === this.window) return this.drag(event);
    const begin = event.clientX - left;
    const shown = this.root.appendChild(document.createElement("div"));
    shown.className = "tl-selection";
    this.follow(
      (moved) => {
        const at = moved.clientX - left;
        shown.style.left = `${Math.min(begin, at)}px`;
        shown.style.width = `${Math.abs(at - begin)}px`;
      },
      (dropped) => {
        shown.remove();
        const [from, to] = [begin, dropped.clientX - left].sort((a, b) => a - b);
        if (to - from > 4) this.choose(this.scale.at(Math.max(0, from)), this.scale.at(Math.min(this.scale.width, to)));
      },
    );
  }

  drag(event) {
    let last = event.clientX;
    this.follow((moved) => { this.move(moved.clientX - last); last = moved.clientX; }, () => {});
  }

  follow(move, drop) {
    const end = (event) => {
      window.removeEventListener("pointermove", move);
      window.removeEventListener("pointerup", end);
      drop(event);
    };
    window.addEventListener("pointermove", move);
    window.addEventListener("pointerup", end);
  }
}
