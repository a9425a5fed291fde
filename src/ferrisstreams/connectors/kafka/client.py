"""What all clients of a cluster have in common: their properties with origins, and what they say of themselves."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from ferrisstreams.config.secrets import MASK, is_secret
from ferrisstreams.config.values import Property
from ferrisstreams.connectors.kafka.translation import error_of, kafka_error
from ferrisstreams.errors import ConfigError

#: Where the client's own log goes: nowhere. What matters comes as an error, which we tell in our words.
QUIET = logging.Logger("librdkafka", logging.CRITICAL + 1)

#: How often a client reports its figures: the report of 100 partitions costs it and us under 2 ms.
STATISTICS_INTERVAL_MS = "1000"

Side = Literal["consumer", "producer"]

#: Errors that say why a cluster cannot be reached; the calls that fail then only say that they timed out.
_REASONS = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError._SSL,
        KafkaError._RESOLVE,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)
_VAGUE = frozenset({KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN})


@dataclass(frozen=True, slots=True)
class ClientProperty:
    """A property of the client and where it comes from: `given` by the user, `required` by delivery, `suggested`.

    `by` is the setting that a suggestion follows from (`batch.size=100`); empty: it is suggested always.
    """

    value: str
    origin: str
    by: str = ""


class ClientReports:
    """What a client reports beside its calls: why it cannot connect, and whether all brokers are down."""

    def __init__(self) -> None:
        self.reason: KafkaError | None = None
        self.all_down = False

    def add(self, error: KafkaError) -> None:
        """The client's `error_cb`."""
        if error.code() in _REASONS:
            self.reason = error
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self.all_down = True

    @contextmanager
    def translated(self, doing: str) -> Iterator[None]:
        """Turns the client's exceptions into ours, with the reason where the exception does not say it."""
        try:
            yield
        except KafkaException as raised:
            error = error_of(raised)
            if error.code() in _VAGUE and self.reason is not None:
                error = self.reason
            raise kafka_error(error, doing) from raised


def merged(
    given: Mapping[str, Property],
    required: Mapping[str, str],
    suggested: Mapping[str, str],
    because: Mapping[str, str] | None = None,
) -> dict[str, ClientProperty]:
    """The properties of a client. A suggestion never replaces what the user gave. `because`: what suggests each.

    Raises ConfigError E3009 where the user contradicts what delivery requires.
    """
    by = because or {}
    result = {name: ClientProperty(value, "suggested", by.get(name, "")) for name, value in suggested.items()}
    result |= {name: ClientProperty(value, "required") for name, value in required.items()}
    for name, prop in given.items():
        value = property_text(prop)
        if name in required and not same_value(value, required[name]):
            raise ConfigError(
                f"{prop.lead}'kafka.{name}' = '{value}' contradicts what delivery needs: {required[name]}",
                "E3009",
                f"leave 'kafka.{name}' out",
                prop.position,
            )
        result[name] = ClientProperty(value, "given")
    return result


def same_value(given: str, required: str) -> bool:
    """Whether two texts of a property mean the same (`all` and `-1` are the same number of acknowledgements)."""
    same = {"-1": "all", "1": "true", "0": "false"} if required in ("all", "true", "false") else {}
    return same.get(given.lower(), given.lower()) == required


def texts(properties: Mapping[str, ClientProperty]) -> dict[str, str]:
    """The properties as the client takes them."""
    return {name: prop.value for name, prop in properties.items()}


def check_properties(side: Side, given: Mapping[str, Property], beside: Mapping[str, str] | None = None) -> None:
    """Let the client itself look at the user's properties, without an address to connect to, `beside` those that the
    job sets unless the user does.

    Raises ConfigError E3001 for one that it does not know, E3002 for a value that does not fit.
    """
    for name, prop in given.items():
        if name in _REFUSED:
            raise ConfigError(f"{prop.lead}'kafka.{name}' cannot be set", "E3002", _REFUSED[name], prop.position)
    kind = Consumer if side == "consumer" else Producer
    refusal = partial(_refusal, kind, beside or {})
    # All together, because some fit only beside others.
    reason = refusal(given)
    if reason is None:
        return
    name = _blamed(refusal, given, reason)
    unknown = "No such configuration property" in reason
    why = "there is no such property of the Kafka client" if unknown else _shown(reason, given)
    raise ConfigError(
        f"{given[name].lead}'kafka.{name}': {why}",
        "E3001" if unknown else "E3002",
        "the properties are those of librdkafka",
        given[name].position,
    )


#: Properties that are no one's to set, and why.
_REFUSED = {
    "plugin.library.paths": "it would load foreign code into the process",
    "enable.partition.eof": "the source relies on it",
    "transactional.id": "it is made of the names of the application and the job, so that no other job fences this one",
    "delivery.report.only.error": "the sink relies on it",
}


#: Why the client refuses properties; None: it takes them.
_Refusal: TypeAlias = "Callable[[Mapping[str, Property]], str | None]"


def _blamed(refusal: _Refusal, given: Mapping[str, Property], reason: str) -> str:
    """The property that the client refuses. The reason may name it by another of its names, or not at all."""
    # Values that are wrong by themselves are refused one by one, before any is looked at beside others.
    alone = [name for name, prop in given.items() if refusal({name: prop}) == reason]
    spoken = [name for name in given if re.search(rf"(?<![\w.]){re.escape(name)}(?![\w.])", reason)]
    quoted = [name for name, prop in given.items() if len(text := property_text(prop)) > 1 and text in reason]
    # Without the one that is to blame the client has nothing to say, or something else.
    needed = [name for name in given if refusal(_others(given, name)) != reason]
    return next(iter([*alone, *spoken, *quoted, *reversed(needed), *given]))


def _others(given: Mapping[str, Property], left_out: str) -> dict[str, Property]:
    return {name: prop for name, prop in given.items() if name != left_out}


def _shown(reason: str, given: Mapping[str, Property]) -> str:
    """What the client says, without the secrets that it may quote."""
    for name, prop in given.items():
        if is_secret(name):
            reason = reason.replace(property_text(prop) or MASK, MASK)
    return reason


def _refusal(
    kind: type[Consumer] | type[Producer], beside: Mapping[str, str], given: Mapping[str, Property]
) -> str | None:
    base = {**beside, "log_level": "0"} | ({"group.id": "check"} if kind is Consumer else {})
    own = {name: property_text(prop) for name, prop in given.items() if name != "bootstrap.servers"}
    try:
        kind({**base, **own}).close()
    except KafkaException as raised:
        return error_of(raised).str().strip()
    except (TypeError, ValueError) as raised:
        return str(raised)
    return None


def property_text(prop: Property) -> str:
    """The value of a property as the client reads it."""
    return str(prop.value).lower() if isinstance(prop.value, bool) else str(prop.value)
