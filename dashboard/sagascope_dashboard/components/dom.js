// Creates and updates elements; text never becomes markup. Joined before timeline.js.

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function makeButton(text, onClick, label) {
  const button = make("button", "tl-button", text);
  button.type = "button";
  if (label) setLabel(button, label);
  button.addEventListener("click", onClick);
  return button;
}

// Sets the accessible name and the tooltip.
function setLabel(element, label) {
  if (element.title === label) return;
  element.title = label;
  element.setAttribute("aria-label", label);
}

// Keeps one child for each item; existing children are only updated.
function syncChildren(parent, items, create, update) {
  while (parent.children.length > items.length) parent.lastChild.remove();
  items.forEach((item, index) => update(parent.children[index] ?? parent.appendChild(create()), item));
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
