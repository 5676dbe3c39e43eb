// Elements from text: nothing received is ever read as markup. Joined before the parts of the timeline.

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function makeButton(text, act, label) {
  const button = make("button", "tl-button", text);
  button.type = "button";
  if (label) say(button, label);
  button.addEventListener("click", act);
  return button;
}

// A name for readers who do not see the shape, and a hint for those who do.
function say(element, label) {
  if (element.title === label) return;
  element.title = label;
  element.setAttribute("aria-label", label);
}

// Keeps as many children as there are items, made once and then only filled.
function repeat(parent, items, create, fill) {
  while (parent.children.length > items.length) parent.lastChild.remove();
  items.forEach((item, index) => fill(parent.children[index] ?? parent.appendChild(create()), item));
}

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
