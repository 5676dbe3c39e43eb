// How a bar is said and which sign it bears. Joined before timeline.js.

const KINDS = {
  action: "work", compensation: "undo", saga: "the transaction itself", span: "work inside a step",
  wait: "waiting", missing: "missing",
};

const LEGEND = [
  ["t-work", "working"], ["t-good", "done"], ["t-fail", "failed"], ["t-unknown", "outcome unknown"],
  ["t-undo", "undo"], ["t-wait", "waiting"], ["t-missing", "missing"], ["silent", "silent"],
  ["mark-note", "log line"], ["mark-error", "error"],
];

// What a bar looks like: colour and texture by kind and state, as in the legend.
function signOf(bar) {
  if (bar.kind === "wait" || bar.kind === "missing") return `t-${bar.kind}`;
  if (bar.kind === "saga" || bar.kind === "span") return bar.state === "error" ? "t-thin t-fail-thin" : "t-thin";
  if (bar.state === "error") return "t-fail";
  if (bar.state === "unknown") return "t-unknown";
  if (bar.kind === "compensation") return "t-undo";
  return bar.state === "in_flight" ? "t-work" : "t-good";
}

function labelOf(bar) {
  if (bar.kind === "wait") return bar.end === null ? "waiting" : duration((bar.end - bar.start) / 1000);
  return bar.tries > 1 || bar.number > 1 ? `${bar.number} · ${bar.label}` : bar.label;
}

function sentence(bar) {
  const took = bar.end === null ? `since ${clockOf(bar.start)}` : `took ${duration((bar.end - bar.start) / 1000)}`;
  const which = bar.tries > 1 || bar.number > 1 ? `, attempt ${bar.number}` : "";
  const heard = bar.heard === null ? "" : `; its process is silent since ${clockOf(bar.heard)}`;
  return `${bar.label}${which} in ${bar.lane} (${KINDS[bar.kind]}): ${bar.word.toLowerCase()}, ${took}${heard}.`;
}
