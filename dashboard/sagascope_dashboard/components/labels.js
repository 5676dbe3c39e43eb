// Labels and styles of bars. Joined before timeline.js.

const KINDS = {
  action: "work", compensation: "compensation", saga: "the transaction itself", span: "work inside a step",
  wait: "waiting", missing: "missing",
};

const LEGEND = [
  ["t-work", "working"], ["t-good", "done"], ["t-fail", "failed"], ["t-unknown", "outcome unknown"],
  ["t-compensation", "compensation"], ["t-wait", "waiting"], ["t-missing", "missing"], ["not-reporting", "not reporting"],
  ["critical", "critical path"], ["mark-note", "log line"], ["mark-error", "error"],
];

// Returns the style of a bar: colour and texture by kind and state, as in the legend.
function styleOf(bar) {
  if (bar.kind === "wait" || bar.kind === "missing") return `t-${bar.kind}`;
  if (bar.kind === "saga" || bar.kind === "span") return bar.state === "error" ? "t-thin t-thin-failed" : "t-thin";
  if (bar.state === "error") return "t-fail";
  if (bar.state === "unknown") return "t-unknown";
  if (bar.kind === "compensation") return "t-compensation";
  return bar.state === "in_flight" ? "t-work" : "t-good";
}

function labelOf(bar) {
  if (bar.kind === "wait") return bar.end === null ? "waiting" : duration((bar.end - bar.start) / 1000);
  if (bar.folded) return `${bar.folded} · ${bar.label}`;
  return bar.attempts > 1 || bar.number > 1 ? `${bar.number} · ${bar.label}` : bar.label;
}

function sentence(bar) {
  const took = bar.end === null ? `since ${clockOf(bar.start)}` : `took ${duration((bar.end - bar.start) / 1000)}`;
  const which = bar.folded ? `, ${bar.folded}` : bar.attempts > 1 || bar.number > 1 ? `, attempt ${bar.number}` : "";
  const lastSeen = bar.last_seen === null ? "" : `; its process has not reported since ${clockOf(bar.last_seen)}`;
  const critical = bar.critical ? ", on the critical path" : "";
  return `${bar.label}${which} in ${bar.lane} (${KINDS[bar.kind]}): ${bar.state_label.toLowerCase()}, ${took}${lastSeen}${critical}.`;
}
