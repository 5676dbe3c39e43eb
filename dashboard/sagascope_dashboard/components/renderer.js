// Renders a tree of [tag, attributes, ...children]. Text becomes text, never markup.
// A new tree changes only what differs, so focus, selection, scroll and open details stay.

const TAGS = new Set(
  ("a abbr article aside b blockquote button caption code dd details div dl dt em figure footer h1 h2 h3 h4 header " +
   "icon li meter nav ol p pre q section small span strong summary table tbody td tfoot th thead time tr ul").split(" "));
const ATTRIBUTES = /^(class|id|title|name|lang|dir|datetime|type|role|tabindex|hidden|open|scope|colspan|min|max|value|aria-[a-z]+|data-[a-z-]+)$/;

export default function renderElements({ parentElement, data, setTriggerValue }) {
  let root = parentElement.querySelector(":scope > .sagascope-elements");
  if (!root) {
    root = parentElement.appendChild(document.createElement("div"));
    root.className = "sagascope-elements";
    root.addEventListener("click", (event) => onClick(event, root));
    root.addEventListener("keydown", chooseNextTab);
    root.choices = new Choices();
  }
  root.choices.update(data, setTriggerValue);
  if (data.utc !== undefined) setZone(data.utc);
  updateChildren(root, data.tree);
  startClock();
  if (data.go && data.go !== location.pathname + location.search) go(data.go);
  return () => root.choices.close();
}

function updateChildren(parent, nodes) {
  const keyed = new Map();
  for (const child of parent.children) if (child.dataset?.key) keyed.set(child.dataset.key, child);
  let at = parent.firstChild;
  for (const node of nodes) {
    const wanted = typeof node === "string" ? null : node[1]["data-key"];
    const existing = wanted === undefined || wanted === null ? at : keyed.get(wanted) ?? null;
    const child = canReuse(existing, node, wanted) ? updateNode(existing, node) : make(node);
    if (child === at) at = at.nextSibling;
    else parent.insertBefore(child, at);
  }
  while (at) { const next = at.nextSibling; at.remove(); at = next; }
}

function canReuse(element, node, key) {
  if (!element) return false;
  if (typeof node === "string") return element.nodeType === Node.TEXT_NODE;
  return element.sourceTag === node[0] && (element.dataset?.key ?? null) === (key ?? null);
}

function make(node) {
  if (typeof node === "string") return document.createTextNode(node);
  const [tag, attributes] = node;
  if (!TAGS.has(tag)) throw new Error(`a tag that is not allowed: ${tag}`);
  const element = tag === "icon" ? icon(attributes.name) : document.createElement(tag);
  element.sourceTag = tag;
  return updateNode(element, node);
}

function updateNode(element, node) {
  if (typeof node === "string") {
    if (element.data !== node) element.data = node;
    return element;
  }
  const [tag, attributes, ...children] = node;
  if (tag === "icon") return element;
  updateAttributes(element, attributes);
  if (tag === "time" && attributes["data-as"]) updateTime(element);
  else updateChildren(element, children);
  return element;
}

function updateAttributes(element, wanted) {
  for (const { name } of [...element.attributes]) {
    const isReaders = name === "open" || name.startsWith("data-now");
    if (!(name in wanted) && !isReaders && name !== "style") element.removeAttribute(name);
  }
  for (const [name, value] of Object.entries(wanted)) {
    const text = String(value === true ? "" : value);
    if (name === "open" && element.isInitialized) continue;
    if (name === "href" ? /^\/(?!\/)/.test(text) : ATTRIBUTES.test(name)) {
      if (element.getAttribute(name) !== text) element.setAttribute(name, text);
    }
  }
  if (wanted["data-column"] !== undefined) element.style.gridArea = `${Number(wanted["data-row"])} / ${Number(wanted["data-column"])}`;
  element.isInitialized = true;
}

function onClick(event, root) {
  const target = event.target.closest?.("[data-copy], [data-jump], [data-choice], [data-zone], a[href]");
  if (!target || !root.contains(target)) return;
  if (target.dataset.copy !== undefined) copy(target);
  else if (target.dataset.zone !== undefined) switchZone(target);
  else if (target.dataset.choice !== undefined) root.choices.send(target.dataset.choice);
  else if (target.dataset.jump) window.dispatchEvent(new CustomEvent("sagascope:jump", { detail: target.dataset.jump }));
  else if (!event.button && !(event.metaKey || event.ctrlKey || event.shiftKey || event.altKey)) {
    event.preventDefault();
    go(target.getAttribute("href"));
  }
}

function chooseNextTab(event) {
  const tab = event.target.closest?.("[role=tab]");
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!tab || !step) return;
  event.preventDefault();
  const tabs = [...tab.parentElement.children];
  const next = tabs.at((tabs.indexOf(tab) + step) % tabs.length);
  next.focus();
  next.click();
}

// Navigates like a click on a link: Streamlit shows the page of the new URL. Switching pages from Python would leave
// an intermediate URL in the history.
function go(href) {
  history.pushState({}, "", href);
  askForPage(pageRun(), 5);
}

// Streamlit loses a request now and then when it arrives while a refresh ends; so it is repeated until a page has run
// with the query of the URL. Without the query, the end of an earlier run could be taken for it.
function askForPage(runBefore, attempts) {
  const { href } = location;
  window.dispatchEvent(new PopStateEvent("popstate"));
  if (attempts === 1) return;
  setTimeout(() => {
    const hasRun = pageRun() !== runBefore && (frame()?.dataset.pageQuery ?? "") === query();
    if (location.href === href && !hasRun) askForPage(runBefore, attempts - 1);
  }, 3000);
}

const frame = () => document.querySelector("[data-page-run]");
const pageRun = () => frame()?.dataset.pageRun;
// As `app.page_query` writes it.
const query = () => [...new URLSearchParams(location.search)].map(([key, value]) => `${key}=${value}`).sort().join("&");

async function copy(button) {
  const text = button.dataset.copy === "link" ? location.href : button.dataset.copy;
  const isCopied = await toClipboard(text);
  const label = button.querySelector("[data-label]") ?? button;
  const before = label.textContent;
  label.textContent = isCopied ? "Copied" : "The browser did not allow it";
  button.setAttribute("data-now", isCopied ? "copied" : "refused");
  setTimeout(() => { label.textContent = before; button.removeAttribute("data-now"); }, 1600);
}

async function toClipboard(text) {
  try { await navigator.clipboard.writeText(text); return true; } catch { /* allowed in secure contexts only */ }
  const area = document.body.appendChild(document.createElement("textarea"));
  area.value = text;
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

// --- times ---------------------------------------------------------------------------------------

function updateTime(element) {
  const moment = new Date(element.getAttribute("datetime"));
  if (Number.isNaN(moment.getTime())) return;
  const text = TIME_FORMATS[element.dataset.as]?.(moment) ?? moment.toISOString();
  if (element.textContent !== text) element.textContent = text;
  element.title = exact(moment);
}

// On a saved page; elsewhere the server is asked, as its tables show times, too.
function switchZone(button) {
  setZone(!isUtc());
  button.setAttribute("aria-pressed", String(isUtc()));
  document.querySelectorAll("time[data-as]").forEach(updateTime);
  window.dispatchEvent(new CustomEvent("sagascope:zone"));
}

const past = (moment) => Math.max(0, (present() - moment) / 1000);
const coarse = (seconds) => (seconds < 1 ? "now" : duration(Math.floor(seconds)));
const TIME_FORMATS = {
  clock,
  fine,
  full: (moment) => `${day(moment)}, ${timeOfDay(moment)}`,
  ago: (moment) => (past(moment) < 1 ? "just now" : `${coarse(past(moment))} ago`),
  for: (moment) => coarse(past(moment)),
};

let clockTimer;
function startClock() {
  clockTimer ??= setInterval(() => {
    if (document.hidden) return;
    document.querySelectorAll("time[data-as=ago], time[data-as=for]").forEach(updateTime);
  }, 1000);
}
