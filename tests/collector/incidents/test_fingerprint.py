"""Errors of one cause have one fingerprint; errors of two causes have two."""

import time

import pytest
from hypothesis import given, strategies as st

from sagascope_collector.incidents import fingerprint

ALIKE = {
    "ids": ("payment pay-8492 was refused", "payment pay-9001 was refused"),
    "numbers": ("balance 50.00 is below 75.10", "balance 3 is below 1,200.50"),
    "uuids": ("no wallet 0b8f3c1e-97f2-4a51-8a3c-6f1e2d4c5b6a", "no wallet 11111111-2222-3333-4444-555555555555"),
    "addresses": ("connect to 10.0.3.7:5432 timed out", "connect to 10.0.12.9:5432 timed out"),
    "host and port": ("connect to ledger-7f9c:8080 refused", "connect to ledger-a11b:8080 refused"),
    "IPv6": ("connect to [fe80::1]:80 refused", "connect to [2001:db8::7]:80 refused"),
    "paths": ("cannot write /var/lib/ledger/a1.db", "cannot write /srv/data/ledger/b2.db"),
    "URLs": ("POST http://ledger/v1/entries/1?x=2 failed", "POST http://ledger.eu/v2/other failed"),
    "times": ("late since 2026-11-22T14:02:20Z", "late since 2026-11-23T01:00:00.123+01:00"),
    "durations": ("timed out after 5.0s", "timed out after 12.25s"),
    "hashes": ("commit deadbeef01 is gone", "commit 0123456789abcdef is gone"),
    "objects": ("<Wallet object at 0x7f1> is closed", "<Wallet object at 0xffe0> is closed"),
    "e-mail": ("no such user a@example.com", "no such user b.c@example.org"),
    "lists": ("missing 1, 2, 3", "missing 4, 5"),
    "the lines below": ("it failed\n  at line 3", "it failed\n  at line 90\n  at line 4"),
    "colours": ("\x1b[31mit failed\x1b[0m", "it failed"),
}

APART = {
    "words": ("connection refused", "connection reset"),
    "HTTP statuses": ("HTTP 503 from the ledger", "HTTP 404 from the ledger"),
    "status codes": ("status code 503", "status code: 429"),
}


@pytest.mark.parametrize("case", ALIKE)
def test_what_differs_from_saga_to_saga_is_stripped(case: str) -> None:
    one, other = ALIKE[case]
    assert fingerprint("LedgerError", one) == fingerprint("LedgerError", other)


@pytest.mark.parametrize("case", APART)
def test_what_distinguishes_causes_stays(case: str) -> None:
    one, other = APART[case]
    assert fingerprint(None, one) != fingerprint(None, other)


def test_the_type_of_the_error_counts() -> None:
    assert fingerprint("Timeout", "no answer") != fingerprint("Refused", "no answer")


def test_no_error_has_no_fingerprint() -> None:
    assert fingerprint(None, None) == ""


@given(st.text(), st.integers(0, 10**12))
def test_a_number_more_or_less_makes_no_difference(text: str, number: int) -> None:
    assert fingerprint("E", f"order {number} {text}") == fingerprint("E", f"order {number + 1} {text}")


@pytest.mark.parametrize("piece", ["a", "1", "a-", "1.", "/a", "0123456789abcdef-", ":", "@a.", "\x1b[", "<id> "])
def test_a_megabyte_of_anything_is_soon_done(piece: str) -> None:
    begun = time.thread_time()  # of another program's time nothing counts
    assert len(fingerprint("E", piece * (1_000_000 // len(piece)))) <= 200
    assert time.thread_time() - begun < 5
