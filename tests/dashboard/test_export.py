import json
import re

from sagascope_dashboard.export import as_html, file_name, markdown
from sagascope_dashboard.urls import SagaAddress
from sagascope_dashboard.viewmodels.saga import saga_view
from sagascope_dashboard.viewmodels.timeline import timeline
from support.wires import at, log, saga, tried

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> [x](javascript:alert(3)) `a` **b**"
ADDRESS = "http://127.0.0.1:8501/saga?name=payment&id=8492"


def hostile_page() -> str:
    whole = saga(
        tried("a.b", 0, 1, "error", error=HOSTILE, stacktrace=HOSTILE),
        headline=HOSTILE,
        customer_line=HOSTILE,
        id=HOSTILE,
        keys={HOSTILE: HOSTILE},
        logs=[log(0.5, HOSTILE, span_id="a.b-1")],
    )
    return as_html(whole, timeline(whole), at(60))


def test_a_saved_page_asks_no_other_place() -> None:
    page = hostile_page()
    assert "default-src 'none'" in page
    assert not re.search(r"(src|href)=[\"']?(?!x onerror)", re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL))


def test_nothing_received_becomes_markup_in_a_saved_page() -> None:
    page = hostile_page()
    assert page.count("</script>") == 2
    assert "<img" not in page
    data = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    assert HOSTILE in str(json.loads(data[1])["answer"])


def test_a_saved_page_stands_still_and_has_no_links() -> None:
    page = as_html(saga(keys={"order": "A1"}), timeline(saga()), at(60))
    assert 'data-present="1795356190000' in page
    assert '"href":' not in page


def test_a_saved_file_has_a_plain_name() -> None:
    assert file_name(SagaAddress("payment", "../../8492 é")) == "payment-8492.html"
    assert file_name(SagaAddress("/", "/")) == "saga.html"


def test_markdown_gives_the_answer_first_and_escapes_what_was_received() -> None:
    text = markdown(saga_view(saga(headline=HOSTILE)), ADDRESS)
    assert text.startswith("**payment 8492: running**\n> \\</script\\>")
    assert r"\[x\](javascript" in text
    assert text.endswith(ADDRESS)
