// The search field is one key away: "/" from anywhere, none at all on the start page.

const field = () => document.querySelector(".st-key-masthead input");

export default function keys({ parentElement, data }) {
  const fresh = !parentElement.sagascopeKeys;
  parentElement.sagascopeKeys ??= listen();
  const handsFree = matchMedia("(pointer: fine)").matches && document.activeElement === document.body;
  if (fresh && data.focus && handsFree) field()?.focus();
  return parentElement.sagascopeKeys;
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
