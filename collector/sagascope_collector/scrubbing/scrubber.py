"""Takes out of a request what may not be kept, before anything else reads it."""

import threading
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from sagascope import semconv
from sagascope_collector.scrubbing import bodies
from sagascope_collector.scrubbing.marking import Findings
from sagascope_collector.scrubbing.needles import Needles
from sagascope_collector.scrubbing.rules import IDENTITY, Keys, Rules
from sagascope_collector.scrubbing.texts import Texts
from sagascope_collector.scrubbing.tokens import Tokens, is_token
from sagascope_collector.scrubbing.walk import HASH, Choice, Walk


class Scrubber:
    """Applies a set of rules. Requests are scrubbed from one thread; counts are read from any."""

    def __init__(self, rules: Rules, tokens: Tokens, identities: Collection[str] = ()) -> None:
        """`identities` are attributes, beside the contract's, that say which records belong together."""
        self._rules = rules
        self._tokens = tokens
        self._needles = Needles(rules, bodies.NEEDLE)
        self._choice = Choice(
            Keys(rules.keep),
            Keys(rules.drop),
            Keys(rules.hash),
            Keys((*IDENTITY, f"{semconv.KEY_PREFIX}*", *identities)),
        )
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def may_touch(self, body: bytes) -> bool:
        """Whether a request in protobuf may hold anything that a rule takes out.

        Never false where one would; true now and then where none does. Not for JSON, where anything can be escaped.
        """
        return self._needles.may_be_in(body)

    def scrub(self, request: Any, body: bytes | None = None) -> None:
        """Apply the rules to every text of a request, in place; `body` is the request in protobuf, if it came so."""
        if not self.may_touch(request.SerializeToString() if body is None else body):
            return
        walk = Walk(self._choice, self._texts(), self._tokens, bodies.scrub)
        walk.expect(request)
        of_no_record = Findings()
        walk.message(request, "", of_no_record)
        with self._lock:
            self._counts += walk.counts + of_no_record.counts

    def quoted(self, text: str) -> str:
        """The id under which a saga is kept whose id somebody quotes."""
        if self._choice.hash.means(semconv.SAGA_ID) and not is_token(text):
            return self._tokens.token(HASH, text.strip())
        texts = self._texts()
        texts.expect([text])
        return texts.identity(text)[0]

    def counts(self) -> Mapping[str, int]:
        """How often each rule took something out since the start."""
        with self._lock:
            return dict(self._counts)

    def _texts(self) -> Texts:
        return Texts(self._rules.cards, self._tokens, self._rules.replace)
