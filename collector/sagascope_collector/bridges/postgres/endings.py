"""When the last participant is decided, the saga has ended: a coordinator that died will not say so. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from sagascope import semconv
from sagascope_collector.bridges.postgres import facts
from sagascope_collector.bridges.postgres.gids import Gid
from sagascope_collector.bridges.postgres.look import Decision
from sagascope_collector.bridges.telling import Facts


def saga_of(gid: Gid) -> Gid:
    """What is the same for all participants."""
    return replace(gid, participant="")


def tell(
    decided: Sequence[Decision], before: Mapping[str, Sequence[str]], standing: Collection[Gid], told: Facts
) -> dict[str, list[str]]:
    """Add decisions to `told`, the last one of a saga with its outcome.

    `before` are the decisions of sagas that stood at the last look; those of sagas that still stand are given back.
    """
    kept = {name: list(types) for name, types in before.items()}
    for each in decided:
        kept.setdefault(_name(each.gid), []).append(each.type)
    last = {_name(each.gid): each for each in decided}
    open_ = {_name(gid) for gid in standing}
    for each in decided:
        name = _name(each.gid)
        outcome = _outcome(kept[name]) if each is last[name] and name not in open_ else None
        told.spans.append(facts.decision(each.whose, each.gid, each.prepared, each.type, each.at, outcome))
    return {name: types for name, types in kept.items() if name in open_}


def _outcome(types: Collection[str]) -> str:
    ways = set(types)
    if len(ways) > 1:
        return semconv.OUTCOME_FAILED
    return semconv.OUTCOME_COMPLETED if semconv.TYPE_COMMIT in ways else semconv.OUTCOME_COMPENSATED


def _name(gid: Gid) -> str:
    return "\0".join((gid.name, gid.run, gid.saga_id))
