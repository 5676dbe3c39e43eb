// Positions of times on the timeline: gaps without any event are collapsed to a fixed width.
// Joined before timeline.js. Times are milliseconds, lengths are CSS pixels.

const COLLAPSED_PX = 88;
const MIN_IDLE_MS = 2000;
const TICK_STEPS_MS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 9e5, 18e5,
  36e5, 72e5, 108e5, 216e5, 432e5, 864e5, 1728e5, 6048e5, 24192e5];

// Returns the segments from start to end, each {from, to, idle, collapsed}; `opened` holds the starts of expanded ones.
function makeSegments(start, end, idle, opened) {
  const segments = [];
  let at = start;
  const remaining = end - start - idle.reduce((sum, [from, to]) => sum + (to === null ? 0 : to - from), 0);
  for (const [from, until] of idle) {
    const to = until ?? end;
    const long = until !== null || to - from > Math.max(MIN_IDLE_MS, 0.25 * (remaining - (to - from)));
    if (!long || to <= from) continue;
    if (from > at) segments.push({ from: at, to: from, idle: false, collapsed: false });
    segments.push({ from, to, idle: true, collapsed: !opened.has(from) });
    at = to;
  }
  if (end > at || !segments.length) segments.push({ from: at, to: Math.max(end, at + 1), idle: false, collapsed: false });
  return segments;
}

// Gives each segment its position in `width` pixels; returns the conversions between time and pixel.
function scale(segments, width) {
  const collapsed = segments.filter((segment) => segment.collapsed).length;
  const each = collapsed ? Math.min(COLLAPSED_PX, (width * 0.5) / collapsed) : 0;
  const time = segments.reduce((sum, segment) => sum + (segment.collapsed ? 0 : segment.to - segment.from), 0);
  const per = time > 0 ? (width - collapsed * each) / time : 0;
  let x = 0;
  for (const segment of segments) {
    segment.x = x;
    segment.width = segment.collapsed ? (time > 0 ? each : width / collapsed) : (segment.to - segment.from) * per;
    x += segment.width;
  }
  const last = segments[segments.length - 1];
  return {
    width,
    x(moment) {
      if (moment <= segments[0].from) return 0;
      const segment = segments.find((one) => moment <= one.to) ?? last;
      if (moment >= segment.to) return segment.x + segment.width;
      return segment.x + segment.width * ((moment - segment.from) / (segment.to - segment.from));
    },
    at(pixel) {
      const segment = segments.find((one) => pixel <= one.x + one.width) ?? last;
      return segment.from + (segment.to - segment.from) * (segment.width ? (pixel - segment.x) / segment.width : 0);
    },
  };
}

// Returns the labels of the axis: the time of day at distances of a second or more, else the offset in the segment.
function ticks(segments, room = 96) {
  const marks = [];
  let free = -Infinity;
  for (const segment of segments) {
    if (segment.collapsed) continue;
    const per = segment.width / (segment.to - segment.from);
    const step = TICK_STEPS_MS.find((one) => one * per >= room) ?? TICK_STEPS_MS[TICK_STEPS_MS.length - 1];
    const short = step < 1000;
    const first = short ? segment.from : Math.ceil(segment.from / step) * step;
    for (let moment = first, isFirst = true; moment <= segment.to; moment += step, isFirst = false) {
      const x = segment.x + (moment - segment.from) * per;
      if (x < free || x > segment.x + segment.width - 50) continue;
      const label = !short ? clockOf(moment) : isFirst ? clockOf(moment, true) : `+${duration((moment - segment.from) / 1000)}`;
      marks.push({ x, label });
      free = x + room * 0.8;
    }
  }
  return marks;
}

function clockOf(moment, exactly = false) {
  return (exactly ? fine : timeOfDay)(new Date(moment));
}
