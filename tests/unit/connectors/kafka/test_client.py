"""Properties of the client: what the user may say, what delivery needs, what is only suggested."""

from __future__ import annotations

import pytest

from ferrisstreams.config.values import Property
from ferrisstreams.connectors.kafka.client import ClientProperty, check_properties, merged
from ferrisstreams.connectors.kafka.producer import REQUIRED
from ferrisstreams.errors import ConfigError


def given(**properties: str | bool | int) -> dict[str, Property]:
    return {name.replace("_", "."): Property(value) for name, value in properties.items()}


def test_suggestion_never_replaces_what_the_user_gave() -> None:
    properties = merged(given(linger_ms=7), {"acks": "all"}, {"linger.ms": "5", "batch.size": "1"})
    assert properties == {
        "linger.ms": ClientProperty("7", "given"),
        "acks": ClientProperty("all", "required"),
        "batch.size": ClientProperty("1", "suggested"),
    }


@pytest.mark.parametrize(
    ("name", "value", "required"),
    [
        ("enable.auto.commit", True, "false"),
        ("enable.idempotence", "false", "true"),
        ("acks", "1", "all"),
        ("isolation.level", "read_uncommitted", "read_committed"),
    ],
)
def test_property_that_contradicts_delivery_is_refused(name: str, value: str | bool, required: str) -> None:
    with pytest.raises(ConfigError, match=f"'kafka.{name}' = .* contradicts what delivery needs: {required}"):
        merged({name: Property(value)}, {name: required}, {})


@pytest.mark.parametrize(
    ("name", "value", "required"), [("acks", "-1", "all"), ("acks", "ALL", "all"), ("enable.idempotence", True, "true")]
)
def test_same_value_in_other_words_is_no_contradiction(name: str, value: str | bool, required: str) -> None:
    assert merged({name: Property(value)}, {name: required}, {})[name].origin == "given"


def test_property_that_the_client_does_not_know_is_named() -> None:
    with pytest.raises(ConfigError, match=r"'kafka\.fetch\.mim\.bytes': there is no such property") as error:
        check_properties("consumer", given(fetch_wait_max_ms=7, fetch_mim_bytes=1))
    assert error.value.code == "E3001"


def test_value_that_does_not_fit_is_named() -> None:
    with pytest.raises(ConfigError, match=r"'kafka\.fetch\.min\.bytes': .*fetch\.min\.bytes") as error:
        check_properties("consumer", given(fetch_wait_max_ms=7, fetch_min_bytes="many"))
    assert error.value.code == "E3002"


def test_properties_that_fit_only_together_are_taken() -> None:
    check_properties(
        "producer", given(security_protocol="SASL_SSL", sasl_mechanism="PLAIN", sasl_username="u", sasl_password="p")
    )


@pytest.mark.parametrize("name", ["plugin_library_paths", "transactional_id", "delivery_report_only_error"])
def test_property_that_is_no_ones_to_set_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be set"):
        check_properties("producer", given(**{name: "/tmp/evil"}))


@pytest.mark.parametrize(("name", "value"), [("max.in.flight", 10), ("retries", 0)])
def test_property_that_does_not_fit_beside_those_of_the_job_is_refused(name: str, value: int) -> None:
    """Not only when the client is made, after the job has started."""
    properties = {"client.id": Property("x"), name: Property(value, origin="--set")}
    with pytest.raises(ConfigError, match=rf"--set: 'kafka\.{name}': .*{name}") as error:
        check_properties("producer", properties, REQUIRED)
    assert error.value.code == "E3002"


@pytest.mark.parametrize(
    ("properties", "blamed", "why"),
    [
        ({"sasl_password": "hunter2", "linger_ms": "abc"}, "linger.ms", "Invalid value"),
        ({"sasl_password": "hunter2", "acks": "some"}, "acks", "Invalid value"),
        ({"client_id": "x", "linger_ms": "-1"}, "linger.ms", "outside allowed range"),
        (
            {"security_protocol": "SASL_PLAINTEXT", "sasl_password": "hunter2", "sasl_mechanism": "FOO"},
            "sasl.mechanism",
            "Unsupported SASL mechanism: FOO",
        ),
        (
            {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", "sasl_password": "hunter2"},
            "sasl.password",
            "sasl.username and sasl.password must be set",
        ),
        ({"client_id": "x", "security_protocol": "hunter3"}, "security.protocol", "hunter3"),
        ({"client_id": "x", "ssl_key_pem": "hunter2", "security_protocol": "ssl"}, "ssl.key.pem", "not in PEM format"),
    ],
)
def test_property_that_the_client_refuses_is_blamed_and_no_secret_is_told(
    properties: dict[str, str], blamed: str, why: str
) -> None:
    with pytest.raises(ConfigError, match=rf"'kafka\.{blamed}': .*{why}") as error:
        check_properties("producer", given(**properties))
    assert error.value.code == "E3002"
    assert "hunter2" not in str(error.value)
