// The axis, and over the lanes the bands of squeezed stretches and where traces begin. Joined before timeline.js.

class Axis {
  // `toggle` opens a stretch that is squeezed, or squeezes it again.
  constructor(plot, toggle) {
    this.root = plot.appendChild(make("div", "tl-axis"));
    this.root.setAttribute("aria-hidden", "true");
    this.bands = make("div", "tl-quiet");
    this.traces = make("div", "tl-traces");
    this.traces.setAttribute("aria-hidden", "true");
    this.toggle = toggle;
  }

  place(parts, offset, width) {
    const marks = ticks(parts).map(({ x, label }) => ({ x: x - offset, label }));
    const seen = marks.filter(({ x }) => x >= -2 && x < width - 40);
    repeat(this.root, seen, () => make("span", "tick"), (tick, { x, label }) => {
      tick.style.left = `${x}px`;
      put(tick, label);
    });
    this.placeBands(parts.filter((part) => part.quiet), offset, width);
  }

  placeBands(parts, offset, width) {
    repeat(this.bands, parts, () => this.makeBand(), (band, part) => {
      const x = part.x - offset;
      const label = duration((part.to - part.from) / 1000);
      band.stretch = part;
      band.hidden = x + part.width < 0 || x > width;
      band.className = part.squeezed ? "quiet" : "quiet open";
      band.style.left = `${x}px`;
      band.style.width = `${part.width}px`;
      put(band.firstChild, label);
      say(band.firstChild, part.squeezed ? `Nothing happened for ${label}. Show at full length` : `Squeeze these ${label}`);
    });
  }

  // A saga may lie in many traces: where one begins, context was not carried on, or was meant not to be.
  placeTraces(traces, scale, offset, width) {
    const seen = traces.map(([at, number]) => ({ x: scale.x(at) - offset, number })).filter(({ x }) => x >= 0 && x <= width);
    repeat(this.traces, seen, () => make("span", "trace"), (mark, { x, number }) => {
      mark.style.left = `${x}px`;
      put(mark, `trace ${number}`);
    });
  }

  makeBand() {
    const band = make("div", "quiet");
    band.appendChild(makeButton("", () => this.toggle(band.stretch.from)));
    return band;
  }
}
