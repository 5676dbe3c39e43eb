"""What a reader waits for, in headless Chromium, with a hundred thousand transactions stored.

From the Enter key, and from a new page, to the verdict; from a new page to the Overview with its charts and table; from
a link to the whole timeline of a transaction with 2,000 spans, of as many steps or of 40 whose attempts are folded, and
what panning it costs in frames; from a record that was acknowledged to the page that shows it. `STORED` and `TURNS` say
how many.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from history import fill
from playwright.sync_api import Page
from report import load, table

from sagascope_collector.storage import Storage
from support import history, staged
from support.browser import Watched, at_a_desk, running_browser, running_dashboard
from support.collector import RunningCollector, running_collector
from support.payments import Tried, saga, send

STORED = int(os.environ.get("STORED", "100000"))
TURNS = int(os.environ.get("TURNS", "30"))
SPANS = 2_000
SAGA = "/saga?name=payment&id=8492"
STEPS = 40
LONG = "/saga?name=payment&id=long"
REPEATED = "/saga?name=payment&id=repeated"

OVERVIEW_TABLE = "[data-testid=stVegaLiteChart] svg >> nth=1 >> xpath=//following::*[@data-testid='stDataFrame']"
"""The table that follows the second chart: it is drawn last."""

PAN = """(frames) => new Promise((done) => {
  const view = document.querySelector('.timeline').parentElement.sagascopeTimeline
    ?? [...document.querySelectorAll('*')].find((one) => one.sagascopeTimeline).sagascopeTimeline;
  view.zoomBy(8);
  const costs = [];
  let last = performance.now();
  const next = () => {
    const begun = performance.now();
    view.pan(7);
    view.root.getBoundingClientRect();
    costs.push(performance.now() - begun);
    costs.length < frames ? requestAnimationFrame(next) : (view.fit(), done(costs));
  };
  requestAnimationFrame(next);
})"""


def main() -> str:
    """A table of milliseconds."""
    with _opened() as (collector, watched):
        page = watched.open("/")
        page.locator(OVERVIEW_TABLE).first.wait_for()
        rows = [
            _row("Enter in the search field until the verdict", "1,000", _searches(watched, page)),
            _row("new page until the verdict", "1,000", _loads(watched, page, SAGA, ".headline")),
            _row("the same, nothing in the browser's cache", "2,000", _first_loads(watched, page)),
            _row("new page until the Overview is drawn", "1,000", _loads(watched, page, "/", OVERVIEW_TABLE)),
            _row(f"link until {SPANS:,} steps are drawn", "700", _timelines(watched, page, LONG, SPANS - 1)),
            _row(
                f"link until {STEPS} steps of {SPANS:,} attempts are", "700", _timelines(watched, page, REPEATED, STEPS)
            ),
            _row("panning them, a frame", "16", _pans(watched, page)),
            _row("record acknowledged until the page shows it", "2,000", _changes(collector, watched, page)),
        ]
        return table(("", "p95 at most, ms", "p50 ms", "p95 ms", "turns"), rows) + f"\n\nLoad of the machine: {load()}."


@contextmanager
def _opened() -> Iterator[tuple[RunningCollector, Watched]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _fill(folder / "sagascope.duckdb")
        with (
            running_collector(folder) as collector,
            running_dashboard(collector.api, folder) as address,
            running_browser() as browser,
        ):
            staged.lost(collector)
            send(collector, *saga("long", _long(SPANS), ago=600, ended=False))
            send(collector, *saga("repeated", _long(STEPS), ago=600, ended=False))
            watched = Watched(address, at_a_desk(browser).new_page())
            yield collector, watched


def _fill(path: Path) -> None:
    drawn = history.draw()
    store = Storage(str(path))
    fill(store, drawn, -(-STORED // history.SAGAS))
    store.close()


def _long(steps: int) -> Sequence[Tried]:
    """Attempts that make so many spans with the saga's own. Those of one step are folded."""
    tried = [(place * steps // SPANS, 0.2 * place) for place in range(SPANS - 1)]
    return [Tried(f"step.{step}", f"service-{step % 12}", begin, begin + 0.15) for step, begin in tried]


def _row(what: str, bound: str, milliseconds: Sequence[float]) -> Sequence[str]:
    taken = sorted(milliseconds)
    p50, p95 = statistics.median(taken), taken[min(len(taken) - 1, round(0.95 * len(taken)))]
    return what, bound, f"{p50:,.0f}", f"{p95:,.0f}", f"{len(taken):,}"


def _searches(watched: Watched, page: Page) -> list[float]:
    taken = []
    for turn in range(TURNS + 2):
        watched.go("/", "need")
        field = page.get_by_label("Find a transaction")
        field.fill("#8492")
        begun = time.perf_counter()
        field.press("Enter")
        page.locator(".headline", has_text="Stuck in ledger.record").wait_for()
        if turn > 1:  # the first two load what a browser loads once
            taken.append(1_000 * (time.perf_counter() - begun))
    return taken


def _loads(watched: Watched, page: Page, path: str, last: str) -> list[float]:
    taken = []
    for _ in range(TURNS + 1):
        begun = time.perf_counter()
        page.goto(watched.address + path)
        page.locator(last).first.wait_for()
        taken.append(1_000 * (time.perf_counter() - begun))
    return taken[1:]


def _first_loads(watched: Watched, page: Page) -> list[float]:
    taken: list[float] = []
    browser = page.context.browser
    assert browser is not None
    for _ in range(TURNS):
        context = at_a_desk(browser)
        begun = time.perf_counter()
        context.new_page().goto(watched.address + SAGA)
        context.pages[0].locator(".headline").wait_for()
        taken.append(1_000 * (time.perf_counter() - begun))
        context.close()
    return taken


def _timelines(watched: Watched, page: Page, path: str, bars: int) -> list[float]:
    taken = []
    for turn in range(TURNS + 1):
        watched.go("/", "need")
        page.locator(".timeline").wait_for(state="detached")
        begun = time.perf_counter()
        watched.go(path, path.rpartition("=")[2])
        page.wait_for_function("(bars) => document.querySelectorAll('.timeline .bar').length >= bars", arg=bars)
        if turn:
            taken.append(1_000 * (time.perf_counter() - begun))
    return taken


def _pans(watched: Watched, page: Page) -> list[float]:
    watched.go(LONG, "long")
    page.locator(".timeline .bar").first.wait_for()
    return [float(each) for each in page.evaluate(PAN, 200)]


def _changes(collector: RunningCollector, watched: Watched, page: Page) -> list[float]:
    taken = []
    for turn in range(TURNS):
        payment = staged.Payment(collector, f"live-{turn}", 10)
        payment.begin()
        payment.step("fraud.check", 0.01, 0.05)
        watched.go(f"/saga?name=payment&id=live-{turn}", f"live-{turn}")
        page.locator(".timeline .bar", has_text="fraud.check").wait_for()
        payment.step("wallet.debit", 0.06, 0.12)
        begun = time.perf_counter()
        page.locator(".timeline .bar", has_text="wallet.debit").wait_for(state="attached")
        taken.append(1_000 * (time.perf_counter() - begun))
    return taken
