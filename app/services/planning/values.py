"""The values of a row: what can be said of a move, in the words of its columns, and what of that is on the target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from app.domain.errors import InvalidRequest
from app.domain.models import TargetFacts
from app.domain.move import MoveOptions, Profile, Strategy
from app.domain.networks import parse
from app.domain.plan import Wanted
from app.domain.registered import RegisteredTarget
from app.preflight.networks import known as known_plugs
from app.services.planning.known import Known
from app.services.planning.report import Findings
from app.services.planning.words import Suggestions, listed, said

FORMATS = ("qcow2", "raw")
STRATEGIES = tuple(item.value for item in Strategy)
PROFILES = tuple(item.value for item in Profile)
NOT_YET = "not_there_yet"


def target_of(row: Wanted, default: str, known: Known, found: Findings) -> RegisteredTarget | None:
    """The target that a row names, or `default`, or the only one."""
    ref, names = row.target or default, [item.name for item in known.targets]
    if ref:
        target = known.target(ref)
        if target is None:
            found.error(
                row.place("target"),
                "target_unknown",
                f"no target {said(ref)} is registered; targets: {listed(names)}",
                known.suggestions.did_you_mean(ref, names) or "Register it (vmferry target add), or name one of these.",
            )
        return target
    if len(names) == 1:
        return known.targets[0]
    found.error(
        row.place("target"),
        "target_missing",
        f"the row names no target; targets: {listed(names)}",
        "Name one in the row, or one for all rows (--target)." if names else "Register one: vmferry target add.",
    )
    return None


def options_of(row: Wanted, to: RegisteredTarget | None, suggest: Suggestions, found: Findings) -> MoveOptions:
    """The options that a row asks for. What is wrong is told, and as if it had not been said."""
    if row.test_first:
        found.error(
            row.place("test_first"), NOT_YET, "a rehearsal before the move is not there yet", 'Write "no", or nothing.'
        )
    if row.keep_mac is False:
        found.error(
            row.place("keep_mac"),
            NOT_YET,
            "a move with other MAC addresses is not there yet",
            'Write "yes", or nothing.',
        )
    values: dict[str, Any] = {
        "strategy": _strategy(row, suggest, found),
        "profile": _choice(row, "profile", PROFILES, suggest, found) or Profile.BALANCED,
        "format": _choice(row, "format", FORMATS, suggest, found),
        "target_name": row.target_name,
        "power_on": row.power_on,
        "cpus": row.cpus,
        "memory_bytes": row.memory_bytes,
        "pool": row.pool,
        "networks": dict(row.networks),
    }
    if to is not None and to.facts is not None:
        if row.pool and to.facts.pool(row.pool) is None:
            _unknown_pool(row, to, to.facts, suggest, found)
            values["pool"] = ""
        values["networks"] = _networks(row, to, to.facts, suggest, found)
    return _validated(row, {name: value for name, value in values.items() if value not in (None, "")}, found)


def _strategy(row: Wanted, suggest: Suggestions, found: Findings) -> str:
    if _plain(row.strategy) == "warm":
        found.error(
            row.place("strategy"),
            NOT_YET,
            'the strategy "warm" is not there yet',
            "Use cold, which shuts the VM down, or disk_only.",
        )
        return Strategy.COLD
    return _choice(row, "strategy", STRATEGIES, suggest, found) or Strategy.COLD


def _choice(row: Wanted, field: str, choices: Sequence[str], suggest: Suggestions, found: Findings) -> str:
    """One of a few words, in whatever case; "" for none or another."""
    text: str = getattr(row, field)
    word = _plain(text)
    if not word or word in choices:
        return word
    meant = suggest.did_you_mean(text, choices) or f"Write one of: {', '.join(choices)}."
    found.error(row.place(field), f"{field}_unknown", f"there is no {field} {said(text)}", meant)
    return ""


def _plain(text: str) -> str:
    return text.strip().casefold().replace(" ", "_").replace("-", "_")


def _unknown_pool(row: Wanted, to: RegisteredTarget, facts: TargetFacts, suggest: Suggestions, found: Findings) -> None:
    names = [pool.name for pool in facts.pools]
    found.error(
        row.place("pool"),
        "pool_unknown",
        f"pool {said(row.pool)} is not on {to.name}; pools there: {listed(names)}",
        suggest.did_you_mean(row.pool, names)
        or f"Use one of these, or make it and check the target again: vmferry target check {to.name}.",
    )


def _networks(
    row: Wanted, to: RegisteredTarget, facts: TargetFacts, suggest: Suggestions, found: Findings
) -> dict[str, str]:
    """Those of a row's networks that are on the target."""
    right: dict[str, str] = {}
    for network, plug in row.networks.items():
        try:
            attachment = parse(plug)
        except InvalidRequest as error:
            found.error(row.place("networks"), "network_invalid", error.message, error.remedy)
            continue
        there = known_plugs(facts, attachment)
        if attachment.name in there.mtus:
            right[network] = plug
            continue
        names = list(there.mtus)
        found.error(
            row.place("networks"),
            "network_unknown",
            f"{there.what} {said(attachment.name)} is not on {to.name}; there: {listed(names)}",
            suggest.did_you_mean(attachment.name, names)
            or f"{there.remedy} and check the target again (vmferry target check {to.name}), or use one of these.",
        )
    return right


def _validated(row: Wanted, values: dict[str, Any], found: Findings) -> MoveOptions:
    """By the model's own rules: lengths and ranges."""
    try:
        return MoveOptions.model_validate(values)
    except ValidationError as error:
        wrong = {str(item["loc"][0]): item["msg"] for item in error.errors()}
        for field, message in wrong.items():
            found.error(row.place(field), f"{field}_invalid", f"{field}: {message}", "See the column's comment.")
        return MoveOptions.model_validate({name: value for name, value in values.items() if name not in wrong})
