// Services as columns, calls and messages as arrows, in the order of time. Received values become text, never markup.

const ROW_PX = 34;
const TIMES_PX = 92;
const MIN_COLUMN_PX = 112;

export default function renderSequence({ parentElement, data, setTriggerValue }) {
  const view = (parentElement.sagascopeSequence ??= new SequenceView(parentElement));
  view.choices.update(data, setTriggerValue);
  view.show(data);
  return () => {
    view.close();
    delete parentElement.sagascopeSequence;
  };
}

class SequenceView {
  constructor(host) {
    this.choices = new Choices();
    this.root = host.appendChild(make("section", "timeline sequence"));
    this.root.setAttribute("aria-label", "Sequence of calls");
    this.heads = this.root.appendChild(make("div", "sq-heads"));
    this.list = this.root.appendChild(make("div", "sq-rows"));
    this.list.setAttribute("role", "list");
    this.footer = this.root.appendChild(make("p", "tl-footer"));
    this.onJump = ({ detail }) => this.reveal(detail);
    window.addEventListener("sagascope:jump", this.onJump);
    this.observer = new ResizeObserver(() => this.layout());
    this.observer.observe(this.root);
  }

  close() {
    window.removeEventListener("sagascope:jump", this.onJump);
    this.observer.disconnect();
    this.choices.close();
    this.root.remove();
  }

  show(data) {
    this.data = data;
    if (data.utc !== undefined) setZone(data.utc);
    syncChildren(this.heads, data.services, () => make("strong"), (head, name) => { setText(head, name); head.title = name; });
    syncChildren(this.list, data.calls, makeRow, (row, call) => this.updateRow(row, call));
    this.footer.textContent = data.left_out ? `${data.left_out.toLocaleString("en")} more calls are not shown.` : "";
    if (!data.calls.length) this.footer.textContent = "No call between services was received.";
    this.layout();
  }

  updateRow(row, call) {
    row.call = call;
    row.firstChild.onclick = () => this.choices.send(row.call.key);
    row.className = `sq-row ${call.state} ${call.is_message ? "message" : "call"}`;
    row.dataset.span = call.span;
    const count = call.count > 1 ? ` ×${call.count}` : "";
    const took = call.took === null ? "" : `, took ${duration(call.took)}`;
    const [time, label] = row.firstChild.querySelectorAll("span");
    setText(time, clockOf(call.at, true));
    setText(label, `${call.label}${count}`);
    const kind = call.is_message ? "message" : "call";
    setLabel(row.firstChild, `${clockOf(call.at, true)} ${kind} from ${call.source} to ${call.target}: ${call.label}${count}, ${call.state_label.toLowerCase()}${took}`);
  }

  layout() {
    const count = this.data?.services.length;
    if (!count) return;
    const column = Math.max(MIN_COLUMN_PX, (this.root.clientWidth - TIMES_PX) / count);
    this.root.style.setProperty("--column", `${column}px`);
    const at = new Map(this.data.services.map((name, index) => [name, TIMES_PX + (index + 0.5) * column]));
    for (const row of this.list.children) this.layoutArrow(row, at.get(row.call.source), at.get(row.call.target), column);
  }

  layoutArrow(row, from, to, column) {
    const [, label, svg] = row.firstChild.children;
    const isOwn = from === to;
    const left = Math.min(from, to);
    const width = isOwn ? 26 : Math.abs(to - from);
    svg.style.left = `${left}px`;
    svg.setAttribute("width", width);
    const ahead = to > from;
    const tip = isOwn ? 1 : ahead ? width - 1 : 1;
    const back = isOwn || !ahead ? 8 : -8;
    const line = isOwn ? "M1 10H24V22H1" : `M${ahead ? 0 : width} 22H${tip}`;
    svg.firstChild.setAttribute("d", line);
    svg.lastChild.setAttribute("d", `M${tip + back} 17L${tip} 22L${tip + back} 27`);
    label.style.left = `${isOwn ? left + 32 : left + 4}px`;
    label.style.maxWidth = `${isOwn ? column - 36 : Math.max(width - 8, column - 12)}px`;
  }

  reveal(span) {
    const row = [...this.list.children].find((one) => one.dataset.span === span);
    row?.scrollIntoView({ block: "center" });
    row?.firstChild.focus({ preventScroll: true });
  }
}

function makeRow() {
  const row = make("div", "sq-row");
  row.setAttribute("role", "listitem");
  row.style.height = `${ROW_PX}px`;
  const button = row.appendChild(make("button"));
  button.type = "button";
  button.append(make("span", "sq-time"), make("span", "sq-label"));
  const svg = button.appendChild(document.createElementNS(SVG, "svg"));
  svg.setAttribute("height", ROW_PX);
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS(SVG, "path"), document.createElementNS(SVG, "path"));
  return row;
}
