// The axis, and over the lanes the idle gaps and the starts of traces. Joined before timeline.js.

class Axis {
  // `toggle` expands an idle gap, or collapses it again.
  constructor(plot, toggle) {
    this.root = plot.appendChild(make("div", "tl-axis"));
    this.root.setAttribute("aria-hidden", "true");
    this.idleGaps = make("div", "tl-idle");
    this.traces = make("div", "tl-traces");
    this.traces.setAttribute("aria-hidden", "true");
    this.toggle = toggle;
  }

  layout(segments, offset, width) {
    const marks = ticks(segments).map(({ x, label }) => ({ x: x - offset, label }));
    const seen = marks.filter(({ x }) => x >= -2 && x < width - 40);
    syncChildren(this.root, seen, () => make("span", "tick"), (tick, { x, label }) => {
      tick.style.left = `${x}px`;
      setText(tick, label);
    });
    this.layoutIdleGaps(segments.filter((segment) => segment.idle), offset, width);
  }

  layoutIdleGaps(segments, offset, width) {
    syncChildren(this.idleGaps, segments, () => this.makeIdleGap(), (gap, segment) => {
      const x = segment.x - offset;
      const label = duration((segment.to - segment.from) / 1000);
      gap.segment = segment;
      gap.hidden = x + segment.width < 0 || x > width;
      gap.className = segment.collapsed ? "idle-gap" : "idle-gap expanded";
      gap.style.left = `${x}px`;
      gap.style.width = `${segment.width}px`;
      setText(gap.firstChild, label);
      setLabel(gap.firstChild, segment.collapsed ? `Nothing happened for ${label}. Show at full length` : `Collapse these ${label}`);
    });
  }

  // A saga may span several traces: where one starts, the context was not propagated, by mistake or by design.
  layoutTraces(traces, scale, offset, width) {
    const seen = traces.map(([at, number]) => ({ x: scale.x(at) - offset, number })).filter(({ x }) => x >= 0 && x <= width);
    syncChildren(this.traces, seen, () => make("span", "trace"), (mark, { x, number }) => {
      mark.style.left = `${x}px`;
      setText(mark, `trace ${number}`);
    });
  }

  makeIdleGap() {
    const gap = make("div", "idle-gap");
    gap.appendChild(makeButton("", () => this.toggle(gap.segment.from)));
    return gap;
  }
}
