// Draws a tree of [tag, attributes, ...children]: text becomes text, and nothing else.
// Drawn again, it changes only what differs, so focus, selection, scroll and open details stay.

const TAGS = new Set(
  ("a abbr article aside b blockquote button caption code dd details div dl dt em figure footer h1 h2 h3 h4 header " +
   "icon li meter nav ol p pre q section small span strong summary table tbody td tfoot th thead time tr ul").split(" "));
const ATTRIBUTES = /^(class|id|title|name|lang|dir|datetime|type|role|tabindex|hidden|open|scope|colspan|min|max|value|aria-[a-z]+|data-[a-z-]+)$/;

export default function paper({ parentElement, data }) {
  let root = parentElement.querySelector(":scope > .paper");
  if (!root) {
    root = parentElement.appendChild(document.createElement("div"));
    root.className = "paper";
    root.addEventListener("click", (event) => clicked(event, root));
  }
  fill(root, data.tree);
  tick();
  if (data.go && data.go !== location.pathname + location.search) go(data.go);
}

function fill(parent, nodes) {
  const keyed = new Map();
  for (const child of parent.children) if (child.dataset?.key) keyed.set(child.dataset.key, child);
  let at = parent.firstChild;
  for (const node of nodes) {
    const wanted = typeof node === "string" ? null : node[1]["data-key"];
    const known = wanted === undefined || wanted === null ? at : keyed.get(wanted) ?? null;
    const drawn = suits(known, node, wanted) ? change(known, node) : make(node);
    if (drawn === at) at = at.nextSibling;
    else parent.insertBefore(drawn, at);
  }
  while (at) { const next = at.nextSibling; at.remove(); at = next; }
}

function suits(element, node, key) {
  if (!element) return false;
  if (typeof node === "string") return element.nodeType === Node.TEXT_NODE;
  return element.drawnAs === node[0] && (element.dataset?.key ?? null) === (key ?? null);
}

function make(node) {
  if (typeof node === "string") return document.createTextNode(node);
  const [tag, attributes] = node;
  if (!TAGS.has(tag)) throw new Error(`a tag that is never drawn: ${tag}`);
  const element = tag === "icon" ? icon(attributes.name) : document.createElement(tag);
  element.drawnAs = tag;
  return change(element, node);
}

function change(element, node) {
  if (typeof node === "string") {
    if (element.data !== node) element.data = node;
    return element;
  }
  const [tag, attributes, ...children] = node;
  if (tag === "icon") return element;
  attribute(element, attributes);
  if (tag === "time" && attributes["data-as"]) tell(element);
  else fill(element, children);
  return element;
}

function attribute(element, wanted) {
  for (const { name } of [...element.attributes]) {
    const readersOwn = name === "open" || name.startsWith("data-now");
    if (!(name in wanted) && !readersOwn && name !== "style") element.removeAttribute(name);
  }
  for (const [name, value] of Object.entries(wanted)) {
    const text = String(value === true ? "" : value);
    if (name === "open" && element.drawnBefore) continue;
    if (name === "href" ? /^\/(?!\/)/.test(text) : ATTRIBUTES.test(name)) {
      if (element.getAttribute(name) !== text) element.setAttribute(name, text);
    }
  }
  if (wanted["data-share"] !== undefined) element.style.flexGrow = Number(wanted["data-share"]);
  element.drawnBefore = true;
}

function clicked(event, root) {
  const target = event.target.closest?.("[data-copy], [data-jump], a[href]");
  if (!target || !root.contains(target)) return;
  if (target.dataset.copy !== undefined) copy(target);
  else if (target.dataset.jump) window.dispatchEvent(new CustomEvent("sagascope:jump", { detail: target.dataset.jump }));
  else if (!event.button && !(event.metaKey || event.ctrlKey || event.shiftKey || event.altKey)) {
    event.preventDefault();
    go(target.getAttribute("href"));
  }
}

// As if the reader had gone forward: Streamlit shows the page of the new address. Its own way to switch pages from
// Python leaves an address between the two in the history that never was one.
function go(href) {
  history.pushState({}, "", href);
  window.dispatchEvent(new PopStateEvent("popstate"));
}

async function copy(button) {
  const text = button.dataset.copy === "link" ? location.href : button.dataset.copy;
  const done = await toClipboard(text);
  const label = button.querySelector("[data-label]") ?? button;
  const before = label.textContent;
  label.textContent = done ? "Copied" : "The browser did not allow it";
  button.setAttribute("data-now", done ? "copied" : "refused");
  setTimeout(() => { label.textContent = before; button.removeAttribute("data-now"); }, 1600);
}

async function toClipboard(text) {
  try { await navigator.clipboard.writeText(text); return true; } catch { /* only pages of a secure context may */ }
  const area = document.body.appendChild(document.createElement("textarea"));
  area.value = text;
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

// --- moments ---------------------------------------------------------------------------------------

function tell(element) {
  const moment = new Date(element.getAttribute("datetime"));
  if (Number.isNaN(moment.getTime())) return;
  const text = WRITE[element.dataset.as]?.(moment) ?? moment.toISOString();
  if (element.textContent !== text) element.textContent = text;
  element.title = exact(moment);
}

const past = (moment) => Math.max(0, (present() - moment) / 1000);
const coarse = (seconds) => (seconds < 1 ? "now" : duration(Math.floor(seconds)));
const WRITE = {
  clock,
  fine,
  full: (moment) => `${day(moment)}, ${timeOfDay(moment)}`,
  ago: (moment) => (past(moment) < 1 ? "just now" : `${coarse(past(moment))} ago`),
  for: (moment) => coarse(past(moment)),
};

let ticking;
function tick() {
  ticking ??= setInterval(() => {
    if (document.hidden) return;
    document.querySelectorAll("time[data-as=ago], time[data-as=for]").forEach(tell);
  }, 1000);
}
