// Where a moment lies on the timeline: stretches without any event are squeezed to a fixed width.
// Joined before timeline.js. Times are milliseconds, lengths are CSS pixels.

const SQUEEZED = 88;
const SHORTEST_QUIET = 2000;
const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 9e5, 18e5,
  36e5, 72e5, 108e5, 216e5, 432e5, 864e5, 1728e5, 6048e5, 24192e5];

// The stretches from start to end, each {from, to, quiet, squeezed}; `opened` holds the starts of those opened by hand.
function stretches(start, end, quiet, opened) {
  const parts = [];
  let at = start;
  const drawn = end - start - quiet.reduce((sum, [from, to]) => sum + (to === null ? 0 : to - from), 0);
  for (const [from, until] of quiet) {
    const to = until ?? end;
    const long = until !== null || to - from > Math.max(SHORTEST_QUIET, 0.25 * (drawn - (to - from)));
    if (!long || to <= from) continue;
    if (from > at) parts.push({ from: at, to: from, quiet: false, squeezed: false });
    parts.push({ from, to, quiet: true, squeezed: !opened.has(from) });
    at = to;
  }
  if (end > at || !parts.length) parts.push({ from: at, to: Math.max(end, at + 1), quiet: false, squeezed: false });
  return parts;
}

// Gives each stretch its place in `width` pixels, and answers the two ways between moment and pixel.
function scale(parts, width) {
  const squeezed = parts.filter((part) => part.squeezed).length;
  const each = squeezed ? Math.min(SQUEEZED, (width * 0.5) / squeezed) : 0;
  const time = parts.reduce((sum, part) => sum + (part.squeezed ? 0 : part.to - part.from), 0);
  const per = time > 0 ? (width - squeezed * each) / time : 0;
  let x = 0;
  for (const part of parts) {
    part.x = x;
    part.width = part.squeezed ? (time > 0 ? each : width / squeezed) : (part.to - part.from) * per;
    x += part.width;
  }
  const last = parts[parts.length - 1];
  return {
    width,
    x(moment) {
      if (moment <= parts[0].from) return 0;
      const part = parts.find((one) => moment <= one.to) ?? last;
      if (moment >= part.to) return part.x + part.width;
      return part.x + part.width * ((moment - part.from) / (part.to - part.from));
    },
    at(pixel) {
      const part = parts.find((one) => pixel <= one.x + one.width) ?? last;
      return part.from + (part.to - part.from) * (part.width ? (pixel - part.x) / part.width : 0);
    },
  };
}

// Labels for the axis: the clock where a second or more lies between two, else the distance from the stretch's start.
function ticks(parts, room = 96) {
  const marks = [];
  let free = -Infinity;
  for (const part of parts) {
    if (part.squeezed) continue;
    const per = part.width / (part.to - part.from);
    const step = STEPS.find((one) => one * per >= room) ?? STEPS[STEPS.length - 1];
    const short = step < 1000;
    const first = short ? part.from : Math.ceil(part.from / step) * step;
    for (let moment = first, begins = true; moment <= part.to; moment += step, begins = false) {
      const x = part.x + (moment - part.from) * per;
      if (x < free || x > part.x + part.width - 50) continue;
      const label = !short ? clockOf(moment) : begins ? clockOf(moment, true) : `+${duration((moment - part.from) / 1000)}`;
      marks.push({ x, label });
      free = x + room * 0.8;
    }
  }
  return marks;
}

function clockOf(moment, exactly = false) {
  return (exactly ? fine : timeOfDay)(new Date(moment));
}
