// "/" focuses the search field from anywhere; on the start page it has the focus at first.

const field = () => document.querySelector(".st-key-header input");

export default function searchShortcut({ parentElement, data }) {
  const fresh = !parentElement.sagascopeShortcut;
  parentElement.sagascopeShortcut ??= listen();
  if (fresh && data.focus && matchMedia("(pointer: fine)").matches) focusWhenReady(performance.now() + 5000);
  return parentElement.sagascopeShortcut;
}

// The field may appear later than this code; a focus that the reader moved meanwhile stays.
function focusWhenReady(until) {
  if (document.activeElement !== document.body || performance.now() > until) return;
  if (field()) field().focus();
  else requestAnimationFrame(() => focusWhenReady(until));
}

function listen() {
  const onKeyDown = (event) => {
    const isTyping = event.target.closest?.("input, textarea, select, [contenteditable=true]");
    if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    field()?.focus();
  };
  document.addEventListener("keydown", onKeyDown);
  return () => document.removeEventListener("keydown", onKeyDown);
}
