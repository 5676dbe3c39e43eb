// Times and durations as text: the same forms as formatting.py, in the reader's zone.
// Joined before the components that use it.

const UNITS = [["day", 86400], ["h", 3600], ["min", 60], ["s", 1]];

function duration(seconds) {
  if (seconds < 0) return `-${duration(-seconds)}`;
  if (seconds < 1) {
    const ms = seconds * 1000;
    return ms >= 10 || ms < 0.01 ? `${ms.toFixed(0)} ms` : `${Number(ms.toPrecision(2))} ms`;
  }
  if (seconds < 10) return `${seconds.toFixed(1).replace(/\.0$/, "")} s`;
  const whole = Math.round(seconds);
  const index = UNITS.findIndex(([, size]) => whole >= size);
  const [name, size] = UNITS[index];
  const smaller = UNITS[index + 1];
  const count = Math.floor(whole / size);
  const rest = whole % size;
  if (!smaller || count >= 10 || rest < smaller[1]) return units(count, name);
  return `${units(count, name)} ${units(Math.floor(rest / smaller[1]), smaller[0])}`;
}

function units(count, name) {
  return `${count.toLocaleString("en")} ${name}${name === "day" && count !== 1 ? "s" : ""}`;
}

// On a saved page, the present is the time of saving.
const isSaved = () => document.documentElement.dataset.present !== undefined;
const present = () => Number(document.documentElement.dataset.present) || Date.now();

const pad = (number) => String(number).padStart(2, "0");

// The reader's zone, or UTC where the reader prefers it.
const isUtc = () => document.documentElement.dataset.zone === "utc";
const setZone = (utc) => { document.documentElement.dataset.zone = utc ? "utc" : "local"; };
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sept", "Oct", "Nov", "Dec"];
const timeOfDay = (moment) => (isUtc()
  ? moment.toISOString().slice(11, 19)
  : [moment.getHours(), moment.getMinutes(), moment.getSeconds()].map(pad).join(":"));
// toLocaleDateString takes 30 microseconds, and a large saga has thousands of times
const day = (moment) => (isUtc()
  ? `${moment.getUTCDate()} ${MONTHS[moment.getUTCMonth()]} ${moment.getUTCFullYear()}`
  : `${moment.getDate()} ${MONTHS[moment.getMonth()]} ${moment.getFullYear()}`);

function clock(moment) {
  const today = day(moment) === day(new Date(present()));
  return today ? timeOfDay(moment) : `${day(moment)}, ${timeOfDay(moment)}`;
}

function fine(moment) {
  return `${timeOfDay(moment)}.${String(moment.getMilliseconds()).padStart(3, "0")}`;
}

function exact(moment) {
  return `${day(moment)}, ${fine(moment)} ${isUtc() ? "UTC" : "here"}, ${moment.toISOString()}`;
}
