// What belongs to the header: "/" focuses the search field from anywhere, and on the start page it has the focus at
// first; "?" shows the keys; the browser keeps the choice of times in UTC.

const KEYS = [
  ["Everywhere", [
    ["/", "Go to the search field"],
    ["Enter", "In a field: search, or apply the filter"],
    ["?", "Show these keys"],
    ["Escape", "Close what is open"],
  ]],
  ["On a timeline", [
    ["← →", "Previous or next bar"],
    ["↑ ↓", "The nearest bar of another service"],
    ["Home End", "First or last bar"],
    ["Enter", "Show a bar in full, or unfold its attempts"],
    ["+ −", "Zoom in or out"],
    ["0", "Fit the whole timeline"],
    ["Shift + ← →", "Move along"],
    ["Escape", "Close the details of a bar"],
  ]],
];

const field = () => document.querySelector(".st-key-header input");

export default function header({ parentElement, data }) {
  const fresh = !parentElement.sagascopeHeader;
  parentElement.sagascopeHeader ??= listen(parentElement);
  if (fresh && data.focus && matchMedia("(pointer: fine)").matches) focusWhenReady(performance.now() + 5000);
  if (!fresh && parentElement.sagascopeUtc !== data.utc) keepChoice(data);
  parentElement.sagascopeUtc = data.utc;
  return parentElement.sagascopeHeader;
}

// The server reads the cookie when a page is opened or loaded again.
function keepChoice({ utc, cookie, cookie_seconds }) {
  document.cookie = `${cookie}=${utc ? 1 : 0}; path=/; max-age=${utc ? cookie_seconds : 0}; samesite=lax`;
}

// The field may appear later than this code; a focus that the reader moved meanwhile stays.
function focusWhenReady(until) {
  if (document.activeElement !== document.body || performance.now() > until) return;
  if (field()) field().focus();
  else requestAnimationFrame(() => focusWhenReady(until));
}

function listen(parent) {
  const dialog = parent.appendChild(keysDialog());
  const show = () => {
    if (dialog.open) return;
    dialog.showModal();
    dialog.lastChild.focus(); // not the list, which the browser would prefer where it scrolls
  };
  const actions = { "/": () => field()?.focus(), "?": show };
  const onKeyDown = (event) => {
    const isTyping = event.target.closest?.("input, textarea, select, [contenteditable=true]");
    if (!actions[event.key] || isTyping || dialog.open || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    actions[event.key]();
  };
  document.addEventListener("keydown", onKeyDown);
  window.addEventListener("sagascope:keys", show);
  return () => {
    document.removeEventListener("keydown", onKeyDown);
    window.removeEventListener("sagascope:keys", show);
  };
}

// Modal: the browser keeps the focus in it, closes it at Escape, and gives the focus back.
function keysDialog() {
  const dialog = make("dialog", "keys");
  dialog.setAttribute("aria-labelledby", "sagascope-keys");
  const title = dialog.appendChild(make("h2", "", "Keyboard"));
  title.id = "sagascope-keys";
  for (const [place, keys] of KEYS) {
    dialog.appendChild(make("h3", "", place));
    const list = dialog.appendChild(make("dl"));
    for (const [key, meaning] of keys) {
      const term = list.appendChild(make("dt"));
      for (const each of key.split(" ")) term.append(each === "+" && key.startsWith("Shift") ? each : make("kbd", "", each));
      list.appendChild(make("dd", "", meaning));
    }
  }
  dialog.appendChild(makeButton("Close", () => dialog.close()));
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // beside it
  return dialog;
}
