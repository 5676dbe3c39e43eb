"""Scrubbing rules applied to requests, in every field."""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from sagascope_collector import config_file
from sagascope_collector.errors import BadRules, CannotStart, StorageUnavailable
from sagascope_collector.otlp import otlpjson
from sagascope_collector.scrubbing import Pseudonyms, Rules, Scrubber, cards, load_key
from support.otlp import any_value, attributes as pairs, log, logs, resource, span, traces
from support.otlpjson import write_json

VISA, MASTER, AMEX = "4111 1111 1111 1111", "5555-5555-5555-4444", "378282246310005"
KEY = b"a key of 16 bytes or more"


def scrubber(key: bytes = KEY, **rules: Any) -> Scrubber:
    return Scrubber(Rules.model_validate(rules), Pseudonyms(lambda: key))


def scrubbed(request: Any, **rules: Any) -> Any:
    scrubber(**rules).scrub(request)
    return request


def attributes(record: Any) -> dict[str, Any]:
    return {each.key: each.value for each in record.attributes}


def only_span(request: Any) -> Any:
    return request.resource_spans[0].scope_spans[0].spans[0]


def marks(record: Any) -> list[str]:
    said = attributes(record).get("sagascope.scrubbed")
    return [each.string_value for each in said.array_value.values] if said else []


def test_every_field_that_can_hold_text_is_scrubbed() -> None:
    one = span(
        name=f"pay {VISA}", error=f"refused {VISA}", links=[(2, 2, {"note": VISA})], trace_state=f"vendor={AMEX}"
    )
    one.attributes.add(key=f"by {AMEX}", value=any_value([{"deep": [VISA.encode(), int(AMEX), float(AMEX)]}]))
    one.events.add(name=VISA).attributes.add(key="exception.message", value=any_value(MASTER))
    one.links[0].trace_state = AMEX
    request = traces(one, of=resource(host_name=VISA), scope=MASTER)
    request.resource_spans[0].schema_url = f"https://schemas.example/{AMEX}"
    request.resource_spans[0].resource.entity_refs.add(type=VISA, id_keys=[AMEX])
    text = str(scrubbed(request)).replace("-", "").replace(" ", "")
    assert not [each for each in (VISA, MASTER, AMEX) if each.replace("-", "").replace(" ", "") in text]
    assert {each.partition(": ")[2] for each in marks(only_span(request))} >= {
        "name",
        "status.message",
        "trace_state",
        "links.attributes.note",
        "events.attributes.exception.message",
        "events.name",
    }
    assert marks(request.resource_spans[0].resource)
    assert marks(request.resource_spans[0].scope_spans[0].scope)


def test_log_records_are_scrubbed_in_body_and_names() -> None:
    request = logs(log({"card": VISA, "list": [AMEX]}, event_name=AMEX, severity_text=MASTER))
    record = scrubbed(request).resource_logs[0].scope_logs[0].log_records[0]
    assert marks(record) == ["card: severity_text", "card: body.card", "card: body.list", "card: event_name"]
    assert record.body.kvlist_value.values[0].value.string_value.startswith("scrubbed-card-")


def test_a_number_has_one_pseudonym_in_every_notation() -> None:
    digits = VISA.replace(" ", "")
    request = traces(span(attributes={"a": VISA, "b": digits, "c": int(digits), "d": float(digits), "e": AMEX}))
    values = [each.value.string_value for each in only_span(scrubbed(request)).attributes][:5]
    assert len(set(values[:4])) == 1
    assert values[4] != values[0]


def test_another_key_gives_another_pseudonym() -> None:
    assert scrubber().stored_id(VISA) != scrubber(key=b"another key of 16 bytes").stored_id(VISA)


def test_scrubbing_is_idempotent() -> None:
    request = traces(span(attributes={"a": VISA, "user.id": "u1", "gone": 1}))
    again = scrubbed(request, hash=["user.id"], drop=["gone"]).SerializeToString()
    assert scrubbed(request, hash=["user.id"], drop=["gone"]).SerializeToString() == again


def test_trace_and_span_ids_are_never_card_numbers() -> None:
    ids = ["4111111111111111"]
    said = {
        "sagascope.heartbeat.open_spans": ids, "logfire.pending_parent_id": ids[0], "sagascope.span.parent_id": ids[0]
    }  # fmt: skip
    request = traces(span(attributes=said))
    before = request.SerializeToString()
    assert scrubbed(request).SerializeToString() == before


PLACES: dict[str, Callable[[Any, str], None]] = {
    "name": lambda one, text: setattr(one, "name", text),
    "attribute": lambda one, text: one.attributes.extend(pairs({"a": text})),
    "key": lambda one, text: one.attributes.extend(pairs({text: "a"})),
    "key in a map": lambda one, text: one.attributes.extend(pairs({"map": {text: {"deep": 1}}})),
    "list": lambda one, text: one.attributes.extend(pairs({"list": ["x", text]})),
    "parent_id of a customer": lambda one, text: one.attributes.extend(pairs({"customer.parent_id": text})),
    "trace_id of a payment": lambda one, text: one.attributes.extend(pairs({"payment_trace_id": text})),
    "span_id": lambda one, text: one.attributes.extend(pairs({"span_id": text})),
    "event": lambda one, text: setattr(one.events.add(), "name", text),
    "attribute of an event": lambda one, text: one.events.add().attributes.extend(pairs({"a": text})),
    "attribute of a link": lambda one, text: one.links.add().attributes.extend(pairs({"a": text})),
    "trace state": lambda one, text: setattr(one, "trace_state", f"a={text}"),
    "status": lambda one, text: setattr(one.status, "message", text),
    "baggage": lambda one, text: one.attributes.extend(pairs({"baggage.card": text})),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "separator", ["", " ", "-", "\u2009", "\u2011", "\u2013", "\n", "\r\n", "%2D", "%20", "&nbsp;", "\u200b"]
)
@pytest.mark.parametrize("digits", ["0123456789", "\uff10\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18\uff19"])
def test_a_card_number_is_removed_wherever_and_however_it_is_written(place: str, separator: str, digits: str) -> None:
    groups = ("4111", "1111", "1111", "1111")
    text = separator.join(group.translate(str.maketrans("0123456789", digits)) for group in groups)
    one = span()
    PLACES[place](one, text)
    left = scrubbed(traces(one)).SerializeToString().decode(errors="ignore")
    assert "4111111111111111" not in "".join(str(int(each)) for each in left if each.isdecimal())
    assert "sagascope.scrubbed" in left


def test_attributes_are_dropped_and_hashed_by_name_and_glob_at_any_depth() -> None:
    told = {"email": "a@b.c", "user": {"email": "x", "id": 7}, "http.request.header.cookie": "y", "seven": "7"}
    rules = {"drop": ["email", "http.*"], "hash": ["user.id", "seven"]}
    one = only_span(scrubbed(traces(span(attributes=told)), **rules))
    assert [each.key for each in one.attributes] == ["user", "seven", "sagascope.scrubbed"]
    nested = one.attributes[0].value.kvlist_value.values
    assert [each.key for each in nested] == ["id"]
    assert nested[0].value.string_value == one.attributes[1].value.string_value
    assert marks(one) == [
        "drop: email",
        "drop: user.email",
        "hash: user.id",
        "drop: http.request.header.cookie",
        "hash: seven",
    ]


def test_patterns_are_replaced_by_their_name_or_a_given_text() -> None:
    rules = {
        "replace": [
            {"name": "email", "pattern": r"[\w.]+@[\w.]+"},
            {"name": "iban", "pattern": r"DE\d{20}", "with": r"\1 IBAN"},
        ]
    }
    told = {"note": "mail ann@example.org, DE89370400440532013000", "raw": b"ann@example.org", "ok": "nothing"}
    one = only_span(scrubbed(traces(span(attributes=told)), **rules))
    said = attributes(one)
    assert said["note"].string_value == r"mail [scrubbed: email], \1 IBAN"
    assert said["raw"].bytes_value == b"[scrubbed: email]"
    assert marks(one) == ["email: note", "iban: note", "email: raw"]


def test_a_scrubbed_identity_stays_distinct() -> None:
    """Two sagas whose ids are mail addresses stay two sagas."""
    rules = {"replace": [{"name": "email", "pattern": r"[\w.]+@[\w.]+"}]}
    for key in ("saga.id", "saga.key.customer"):
        ids = [
            attributes(only_span(scrubbed(traces(span(attributes={key: each})), **rules)))[key].string_value
            for each in ("ann@example.org", "bob@example.org", "ann@example.org")
        ]
        assert ids[0] == ids[2] != ids[1]
        assert ids[0].startswith("scrubbed-email-")


def test_a_quoted_id_is_searched_in_its_stored_form() -> None:
    pattern = {"name": "email", "pattern": r"[\w.]+@[\w.]+"}
    for rules in ({"hash": ["saga.id"]}, {"replace": [pattern]}, {}):
        told = scrubber(**rules)
        request = traces(span(attributes={"saga.id": f"ann@example.org {AMEX}"}))
        told.scrub(request)
        stored = attributes(only_span(request))["saga.id"].string_value
        assert told.stored_id(f"ann@example.org {AMEX}") == stored


def test_kept_attributes_are_not_changed() -> None:
    one = only_span(scrubbed(traces(span(attributes={"order.number": VISA, "card": VISA})), keep=["order.*"]))
    assert attributes(one)["order.number"].string_value == VISA
    assert marks(one) == ["card: card"]


def test_the_card_rule_can_be_turned_off() -> None:
    request = traces(span(attributes={"a": VISA}))
    before = request.SerializeToString()
    assert scrubbed(request, cards=False).SerializeToString() == before


def test_a_mark_that_was_received_is_extended() -> None:
    one = span(attributes={"sagascope.scrubbed": ["drop: email"], "card": AMEX})
    assert marks(only_span(scrubbed(traces(one)))) == ["drop: email", "card: card"]


def test_marks_are_bounded() -> None:
    one = span(attributes={f"card{number}": AMEX for number in range(80)})
    said = marks(only_span(scrubbed(traces(one))))
    assert (len(said), said[-1]) == (51, "and 30 more")


def test_a_span_in_a_log_body_keeps_its_encoding() -> None:
    inner = traces(span(7, trace=9, attributes={"saga.id": "8492", "pan": int(AMEX), "user.id": 7, "email": "x"}))
    carried = TracesData(resource_spans=inner.resource_spans)
    rules = {"hash": ["user.id"], "drop": ["email"]}
    for body in (b64encode(carried.SerializeToString()).decode(), write_json(carried).decode()):
        record = log(body, attributes={"partial.event": "heartbeat"})
        scrubbed_record = scrubbed(logs(record), **rules).resource_logs[0].scope_logs[0].log_records[0]
        text = scrubbed_record.body.string_value
        read = (
            otlpjson.parse(text.encode(), TracesData).message
            if text[0] == "{"
            else TracesData.FromString(b64decode(text))
        )
        one = only_span(read)
        said = attributes(one)
        assert (one.span_id, said["saga.id"].string_value) == (b"\0\0\0\0\0\0\0\x07", "8492")
        assert said["pan"].string_value.startswith("scrubbed-card-")
        assert said["user.id"].string_value.startswith("scrubbed-hash-")
        assert "email" not in said
        assert any("card: body." in each for each in marks(scrubbed_record)), marks(scrubbed_record)


# --- files of rules ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("drop: [saga.id]", ":1: drop[0]: "),
        ("hash:\n  - saga.step.name", ":2: hash[0]: "),
        ("drop: ['saga.*']", "is required to show sagas"),
        ("replace:\n  - name: x\n    pattern: '('", ":3: replace[0].pattern: "),
        ("replace: [{name: x, pattern: 'a*'}]", "matches the empty text"),
        ("replace: [{name: 'no name', pattern: a}]", "replace[0].name"),
        ("key: hello", "key: is not a known key"),
    ],
)
def test_errors_in_a_file_name_their_line_and_key(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "scrub.yaml").write_text(text)
    with pytest.raises(BadRules) as caught:
        config_file.read(tmp_path / "scrub.yaml", Rules)
    assert said in str(caught.value)


def test_globs_do_not_match_the_contracts_attributes() -> None:
    told = {"saga.id": "8492", "sagascope.process.id": "p", "saga.key.order": "o", "sagascope.capture.x": 1, "y": 2}
    one = only_span(scrubbed(traces(span(attributes=told)), drop=["*"]))
    assert [each.key for each in one.attributes] == ["saga.id", "sagascope.process.id", "sagascope.scrubbed"]


# --- the key -----------------------------------------------------------------------------------------


def test_a_key_that_cannot_be_written_is_an_error_of_the_storage(tmp_path: Path) -> None:
    told = Scrubber(Rules(), Pseudonyms(load_key(None, {}, str(tmp_path / "missing" / "s.duckdb"))))
    with pytest.raises(StorageUnavailable, match="scrub-key cannot be written: No such file or directory"):
        told.stored_id(VISA)


def test_a_key_is_generated_once_and_only_when_needed(tmp_path: Path) -> None:
    db, beside = str(tmp_path / "x.duckdb"), tmp_path / "x.duckdb.scrub-key"
    told = Scrubber(Rules(), Pseudonyms(load_key(None, {}, db)))
    told.scrub(traces(span(attributes={"a": "nothing"})))
    assert not beside.exists()
    first = told.stored_id(VISA)
    assert beside.stat().st_mode & 0o777 == 0o600
    assert Scrubber(Rules(), Pseudonyms(load_key(None, {}, db))).stored_id(VISA) == first


def test_a_key_is_read_from_a_file_or_the_environment_and_never_shown(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(KEY + b"\n")
    from_file = Pseudonyms(load_key(tmp_path / "key", {}, ":memory:"))
    from_environment = Pseudonyms(load_key(None, {"SAGASCOPE_SCRUB_KEY": KEY.decode()}, ":memory:"))
    assert from_file.of("x", "y") == from_environment.of("x", "y")
    assert KEY.decode() not in repr(vars(from_file)["_load_key"]) + repr(from_file)
    with pytest.raises(CannotStart, match="too short"):
        load_key(None, {"SAGASCOPE_SCRUB_KEY": "short"}, ":memory:")
    with pytest.raises(CannotStart, match="cannot be read"):
        load_key(tmp_path / "missing", {}, ":memory:")


# --- the prefilter ----------------------------------------------------------------------------------

SEPARATORS = st.sampled_from(["", " ", "-", "+", "%20", "\u00a0"])
NUMBERS = st.sampled_from([VISA, MASTER, AMEX, "4000000000000000006", "4222222222222", "email", "x.user"])


@st.composite
def values(draw: st.DrawFn) -> Any:
    number = draw(NUMBERS).replace(" ", "").replace("-", "")
    separator = draw(SEPARATORS)
    text = draw(st.text(max_size=60)) + separator.join(number[place : place + 4] for place in range(0, len(number), 4))
    as_int = int(number) if number.isdigit() else 5
    return draw(
        st.sampled_from([text, text.encode(), as_int, -as_int, float(as_int), [text], {text: 1}, {"email": as_int}])
        | st.text()
        | st.integers(min_value=-(2**63), max_value=2**63 - 1)
        | st.binary()
        | st.floats()
    )


@st.composite
def among_ids(draw: st.DrawFn) -> Any:
    """Texts in which card numbers, or parts of them, are inside or beside ids."""
    pieces = [
        VISA,
        "4222222222222",
        "4012",
        "8888 8888",
        "1881",
        "a",
        "F",
        "-",
        " ",
        "%20",
        "+",
        "\u00a0",
        "$",
        "0" * 8,
        "x",
    ]
    pieces += ["4012888888881881abcdef0123456789", "a012888888881881", "40128888-8888-1881-abcd-ef0123456789", "881a"]
    return "".join(draw(st.lists(st.sampled_from(pieces), max_size=8)))


CARDS, KEYS = scrubber(), scrubber(drop=["email"], hash=["x.*"], cards=False)


@given(st.lists(values() | among_ids(), max_size=6), st.booleans(), st.booleans(), st.binary(min_size=16, max_size=16))
def test_the_prefilter_never_misses_a_change(said: list[Any], named: bool, as_log: bool, trace: bytes) -> None:
    values = {f"{n}": v for n, v in enumerate(said)}
    one = span(name=str(said[0]) if named and said else "x", attributes=values)
    one.trace_id = trace
    request = logs(log(said[0], flags=1, attributes=values)) if as_log and said else traces(one)
    body = request.SerializeToString()
    for told in (CARDS, KEYS):
        looked = told.may_change(body)
        exact = type(request).FromString(body)
        told.scrub(exact, b"0" * 20 + b"email")
        assert looked or exact == type(request).FromString(body), json.dumps([str(each) for each in said])


def test_ordinary_telemetry_passes_the_prefilter() -> None:
    told = {"http.route": "/pay/{id}", "saga.id": "8492", "net.peer.port": 443, "thread.id": 140_123_456_789}
    assert not scrubber().may_change(traces(span(attributes=told)).SerializeToString())


@pytest.mark.parametrize("text", [AMEX, f"x {AMEX}", f"{AMEX} 1", "30569309025904", "4222222222222", f"$a-{AMEX}"])
def test_bytes_beside_a_card_number_do_not_make_it_an_id(text: str) -> None:
    """The field after the body of a log record starts with a byte that is a letter or a digit."""
    for more in ({"flags": 1}, {"dropped_attributes_count": 2}, {"attributes": {"a": 1}}, {"event_name": "e"}):
        assert scrubber().may_change(logs(log(text, **more)).SerializeToString())


@pytest.mark.parametrize("make", [lambda chance: str(UUID(int=chance)), lambda chance: UUID(int=chance).hex])
def test_the_prefilter_selects_few_requests_full_of_ids(make: Callable[[int], str]) -> None:
    """Of sixty UUIDs, one usually has thirteen digits in a row."""
    chance = Random(3)
    looked = 0
    for _ in range(50):
        ids = [make(chance.getrandbits(128)) for _ in range(60)]
        told = traces(*(span(n + 1, attributes={"saga.id": each}) for n, each in enumerate(ids)))
        looked += scrubber().may_change(told.SerializeToString())
    assert looked <= 5


def test_little_of_an_ordinary_request_is_read_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading all of it, for card numbers in other writings, took ten times as long as decoding it."""
    read, sent, drawn, rewrite = 0, 0, Random(8492), cards.normalized

    def normalized(text: str) -> Any:
        nonlocal read
        read += len(text)
        return rewrite(text)

    monkeypatch.setattr(cards, "normalized", normalized)
    for number in range(20):
        attributes = {"order": f"A-{number}", "amount": "120.50", "at": "2026-11-29T21:53:02Z", "shop": f"eu-{number}"}
        ids = [(drawn.getrandbits(64), drawn.getrandbits(128)) for _ in range(500)]
        body = traces(*(span(own, trace=trace, attributes=attributes) for own, trace in ids)).SerializeToString()
        scrubber().may_change(body)
        sent += len(body)
    assert read < sent / 50
