// Icons on a 16 by 16 grid, one stroke each. Joined before the components that use them.

const SVG = "http://www.w3.org/2000/svg";
const ICONS = {
  brand: "M2 4.5h4.5M6.5 8h5M2 11.5h4M11.5 11.5H14",
  again: "M13 6.5A5.2 5.2 0 1 0 13.2 9M13.4 3v3.6H9.8",
  check: "M3 8.6l3.2 3.2L13 4.8",
  clock: "M8 2.2a5.8 5.8 0 1 0 0 11.6A5.8 5.8 0 0 0 8 2.2zM8 5v3.3l2.2 1.4",
  copy: "M5.5 5.5V3H13v7.5h-2.5M3 5.5h7.5V13H3z",
  cross: "M4 4l8 8M12 4l-8 8",
  dot: "M8 7a1 1 0 1 0 0 2 1 1 0 0 0 0-2z",
  gap: "M1.8 8h3M11.2 8h3M6.8 5v6M9.2 5v6",
  go: "M6 3.5L10.5 8 6 12.5",
  hourglass: "M4 2.5h8M4 13.5h8M5 2.5c0 3.4 6 7.6 6 11M11 2.5c0 3.4-6 7.6-6 11",
  link: "M6.8 9.2a2.6 2.6 0 0 0 3.7 0l2-2a2.6 2.6 0 0 0-3.7-3.7l-.8.8M9.2 6.8a2.6 2.6 0 0 0-3.7 0l-2 2a2.6 2.6 0 0 0 3.7 3.7l.8-.8",
  mark: "M8 2L14.2 13H1.8zM8 6.2v3M8 11.1v.2",
  open: "M8 2.6a5.4 5.4 0 1 0 0 10.8A5.4 5.4 0 0 0 8 2.6z",
  person: "M8 2.8a2.4 2.4 0 1 0 0 4.8 2.4 2.4 0 0 0 0-4.8zM3.2 13.2c.4-2.8 2.2-4 4.8-4s4.4 1.2 4.8 4",
  play: "M5.2 3.4L12 8l-6.8 4.6z",
  question: "M5.4 6A2.6 2.6 0 1 1 9.1 8.4C8.3 8.8 8 9.3 8 10.1M8 12.5v.2",
  search: "M7 2.8a4.2 4.2 0 1 0 0 8.4 4.2 4.2 0 0 0 0-8.4zM10.2 10.2l3.2 3.2",
  twice: "M1.8 8.5L4.3 11l5-6M7.3 10.5l.7.7 5.5-6.5",
  compensating: "M6.2 3.5L3 6.7l3.2 3.2M3.2 6.7h5.6a3.6 3.6 0 0 1 0 7.2H6.6",
  compensated: "M6.2 3.5L3 6.7l3.2 3.2M3.2 6.7h5.6a3.6 3.6 0 0 1 0 7.2H6.6",
  unplugged: "M2 14l2.8-2.8M14 2l-2.8 2.8M4.2 8.2l3.6 3.6-1 1a2.5 2.5 0 0 1-3.6-3.6zM8.2 4.2l3.6 3.6 1-1a2.5 2.5 0 0 0-3.6-3.6zM6.7 6.7L5.6 7.8M9.3 9.3l-1.1 1.1",
};

function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  svg.appendChild(document.createElementNS(SVG, "path")).setAttribute("d", ICONS[name] ?? ICONS.dot);
  return svg;
}
