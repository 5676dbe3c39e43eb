// The search field is one key away: "/" from anywhere, none at all on the start page.

const field = () => document.querySelector(".st-key-masthead input");

export default function keys({ parentElement, data }) {
  const fresh = !parentElement.sagascopeKeys;
  parentElement.sagascopeKeys ??= listen();
  if (fresh && data.focus && matchMedia("(pointer: fine)").matches) begin(performance.now() + 5000);
  return parentElement.sagascopeKeys;
}

// The field may come later than this code; who has put the focus elsewhere meanwhile keeps it there.
function begin(until) {
  if (document.activeElement !== document.body || performance.now() > until) return;
  if (field()) field().focus();
  else requestAnimationFrame(() => begin(until));
}

function listen() {
  const pressed = (event) => {
    const writing = event.target.closest?.("input, textarea, select, [contenteditable=true]");
    if (event.key !== "/" || writing || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    field()?.focus();
  };
  document.addEventListener("keydown", pressed);
  return () => document.removeEventListener("keydown", pressed);
}
