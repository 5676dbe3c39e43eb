// The timeline as text: its legend, the details of one bar, all bars as a list. Joined before timeline.js.

class Legend {
  constructor(parent) {
    this.root = parent.appendChild(make("ul", "tl-legend"));
    this.root.setAttribute("aria-label", "Legend");
  }

  update(bars) {
    const used = new Set(bars.map(styleOf));
    if (bars.some((bar) => bar.last_seen !== null)) used.add("not-reporting");
    if (bars.some((bar) => bar.critical)) used.add("critical");
    for (const { marks } of bars) for (const { level } of marks) used.add(level === "error" ? "mark-error" : "mark-note");
    const wanted = LEGEND.filter(([style]) => used.has(style));
    syncChildren(this.root, wanted, makeEntry, (item, [style, label]) => {
      item.firstChild.className = `swatch ${style}`;
      setText(item.lastChild, label);
    });
  }
}

function makeEntry() {
  const item = make("li");
  item.append(make("i"), make("span"));
  return item;
}

class Detail {
  constructor(parent) {
    this.root = parent.appendChild(make("div", "tl-detail"));
    this.root.setAttribute("aria-live", "polite");
  }

  show(bar) {
    if (!bar) return this.root.replaceChildren();
    const card = make("article", "tl-card");
    card.append(make("h3", "", labelOf(bar)), make("p", "tl-sentence", sentence(bar)), this.facts(bar));
    if (bar.marks.length) card.appendChild(this.log(bar.marks.slice(0, 30)));
    if (bar.stack) card.appendChild(make("pre", "", bar.stack)).tabIndex = 0;
    if (this.root.textContent !== card.textContent) this.root.replaceChildren(card);
  }

  facts(bar) {
    const list = make("dl");
    for (const [name, value] of [["Service", bar.lane], ["Started", exact(new Date(bar.start))], ...bar.facts]) {
      list.append(make("dt", "", name), make("dd", "", value));
    }
    return list;
  }

  log(marks) {
    const list = make("ul", "tl-log");
    for (const mark of marks) {
      const item = list.appendChild(make("li", mark.level));
      item.append(make("span", "tl-clock", clockOf(mark.at, true)), make("span", "", mark.text));
    }
    return list;
  }
}

class TextTimeline {
  constructor(parent) {
    this.root = parent.appendChild(make("details", "tl-text"));
    this.root.appendChild(make("summary", "", "The timeline as text"));
    this.list = this.root.appendChild(make("ol"));
    this.root.addEventListener("toggle", () => this.write(this.bars));
  }

  write(bars) {
    this.bars = bars;
    if (!this.root.open || !bars) return;
    const listed = bars.filter((bar) => bar.kind !== "span" || bar.state === "error");
    syncChildren(this.list, listed, () => make("li"), (item, bar) => setText(item, `${clockOf(bar.start, true)} ${sentence(bar)}`));
  }
}
