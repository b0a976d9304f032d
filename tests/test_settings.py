"""The settings: where their values come from, what is refused, and that all are documented."""

import dataclasses
import math
import re
from dataclasses import fields
from typing import Any

import pytest

from primesvc import Settings
from primesvc.errors import InvalidSetting

FIELDS = [pytest.param(item, id=item.name) for item in fields(Settings)]
SECRETS = [pytest.param(item, id=item.name) for item in fields(Settings) if item.metadata["secret"]]


def flag(name: str) -> str:
    """The flag of a field."""
    return f"--{name.replace('_', '-')}"


def variable(name: str) -> str:
    """The variable of a field."""
    return f"PRIMESVC_{name.upper()}"


def read_one(name: str, text: str) -> Any:
    """The value of a setting whose flag has this text."""
    return getattr(Settings.read({name: text}, {}), name)


# Where values come from


def test_without_flags_and_variables_all_are_defaults() -> None:
    """What nobody sets has its default."""
    assert Settings.read({}, {}) == Settings()
    assert Settings.read(dict.fromkeys((f.name for f in fields(Settings)), None), {}) == Settings()


def test_flags_come_before_variables_before_defaults() -> None:
    """A flag wins over its variable, the variable over the default."""
    environ = {"PRIMESVC_PORT": "1001", "PRIMESVC_WORKERS": "3"}
    settings = Settings.read({"port": "1002", "workers": None, "host": "::1"}, environ)
    assert (settings.port, settings.workers, settings.host) == (1002, 3, "::1")
    assert settings.drain_s == Settings().drain_s


def test_the_environment_is_read_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless told otherwise the variables are those of the process."""
    monkeypatch.setenv("PRIMESVC_MAX_JOBS", "12")
    assert Settings.read({}).max_jobs == 12


def test_other_variables_mean_nothing() -> None:
    """Only variables with our prefix and the name of a setting are looked at."""
    assert Settings.read({}, {"PORT": "1", "PRIMESVC_NONSENSE": "2", "primesvc_port": "3"}) == (
        Settings()
    )


@pytest.mark.parametrize("item", FIELDS)
def test_every_setting_can_be_given_as_a_variable(item: "dataclasses.Field[Any]") -> None:
    """The default of every setting, written as text, is read back from its variable."""
    if item.metadata["secret"]:
        pytest.skip("a secret has no default that could be given")
    text = str(item.default)
    assert getattr(Settings.read({}, {variable(item.name): text}), item.name) == item.default


# How text is read


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1048576", 2**20), ("1M", 2**20), ("1m", 2**20), ("1MB", 2**20), ("1MiB", 2**20),
        (" 2 g ", 2 * 2**30), ("1.5G", 3 * 2**29), ("2048k", 2**21), ("1T", 2**40),
        ("3145728b", 3 * 2**20),
    ],
)  # fmt: skip
def test_sizes_may_have_units(text: str, size: int) -> None:
    """Sizes are bytes, or binary multiples of them with any usual unit."""
    assert read_one("cache_bytes", text) == size
    assert read_one("max_job_bytes", text) == size


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("1000", 1000), ("10**13", 10**13), ("10^13", 10**13), ("1e13", 10**13),
        ("1E3", 1000), (" 2 ^ 64 ", 2**64), ("5e0", 5), ("10_000", 10_000),
    ],
)  # fmt: skip
def test_spans_may_be_powers(text: str, span: int) -> None:
    """Spans are whole numbers, or powers in any usual notation, exact."""
    assert read_one("max_span", text) == span


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", True), ("true", True), ("Yes", True), (" ON ", True),
        ("0", False), ("false", False), ("No", False), ("off", False), ("", False),
    ],
)  # fmt: skip
def test_switches(text: str, value: bool) -> None:
    """A switch is any usual word for yes and no; an empty variable is no."""
    assert read_one("access_log", text) is value


def test_a_flag_can_switch_off_what_a_variable_switched_on() -> None:
    """`--no-access-log` wins over its variable, and so does `--access-log`."""
    assert Settings.read({"access_log": False}, {"PRIMESVC_ACCESS_LOG": "yes"}).access_log is False
    assert Settings.read({"access_log": True}, {"PRIMESVC_ACCESS_LOG": "no"}).access_log is True


def test_times_are_seconds_with_fractions() -> None:
    """Times are seconds, also parts of them."""
    assert read_one("stall_timeout_s", "0.5") == 0.5
    assert read_one("job_ttl_s", " 1e3 ") == 1000


# What is refused


UNREADABLE = [
    ("host", ""), ("host", " "),
    ("port", "http"), ("port", ""), ("port", "80.5"),
    ("workers", "two"),
    ("cache_bytes", "lots"), ("cache_bytes", ""), ("cache_bytes", "G"), ("cache_bytes", "1Q"),
    ("cache_bytes", "1M1"), ("cache_bytes", "infG"), ("cache_bytes", "nanM"),
    ("max_span", "1e"), ("max_span", "2^"), ("max_span", "2^3^4"), ("max_span", "10^-3"),
    ("max_span", "1.5"), ("max_span", "2^650"), ("max_span", "9^9999999999"),
    ("job_ttl_s", "1h"), ("job_ttl_s", "nan"), ("drain_s", "inf"), ("drain_s", "-inf"),
    ("access_log", "maybe"),
]  # fmt: skip

OUT_OF_BOUNDS = [
    ("port", "-1"), ("port", "65536"),
    ("workers", "-1"), ("workers", "1025"),
    ("memory_bytes", "-1"), ("cache_bytes", "-1G"),
    ("engine", "steam"), ("engine", ""),
    ("max_span", "0"), ("max_span", "3^64"), ("max_span", "2^65"),
    ("max_jobs", "0"),
    ("max_job_bytes", "-1k"),
    ("max_job_s", "0"),
    ("job_ttl_s", "-1"),
    ("stall_timeout_s", "0"),
    ("drain_s", "-0.1"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text"), UNREADABLE + OUT_OF_BOUNDS)
def test_errors_name_the_flag_or_the_variable(name: str, text: str) -> None:
    """A wrong value is named by where it was given: by its flag, or by its variable."""
    with pytest.raises(InvalidSetting) as by_flag:
        Settings.read({name: text}, {variable(name): str(getattr(Settings(), name))})
    assert str(by_flag.value).startswith(f"{flag(name)}: ")
    assert by_flag.value.name == flag(name)
    with pytest.raises(InvalidSetting) as by_variable:
        Settings.read({}, {variable(name): text})
    assert str(by_variable.value).startswith(f"{variable(name)}: ")


@pytest.mark.parametrize(("name", "text"), UNREADABLE)
def test_errors_repeat_what_cannot_be_read(name: str, text: str) -> None:
    """The message holds the text that was given."""
    with pytest.raises(InvalidSetting, match=re.escape(f"{text!r} cannot be read")):
        Settings.read({name: text}, {})


@pytest.mark.parametrize("item", SECRETS)
def test_secrets_are_not_repeated(item: "dataclasses.Field[Any]") -> None:
    """Neither an error nor the representation shows a secret."""
    with pytest.raises(InvalidSetting, match=flag(item.name)) as caught:
        Settings.read({item.name: "open\nsesame"}, {})
    assert "sesame" not in str(caught.value)
    assert "sesame" not in repr(Settings.read({item.name: "sesame"}, {}))


def test_errors_name_the_bound() -> None:
    """The message says what would be right."""
    for name, text, bound in (
        ("port", "70000", "65535"),
        ("workers", "-1", "0"),
        ("max_span", "3^64", str(2**64)),
        ("engine", "steam", "auto, primesieve, numpy"),
    ):
        with pytest.raises(InvalidSetting, match=bound):
            Settings.read({name: text}, {})


def test_a_wrong_flag_is_not_saved_by_its_variable() -> None:
    """A flag that cannot be read is an error even if the variable could be."""
    with pytest.raises(InvalidSetting, match="--port"):
        Settings.read({"port": "http"}, {"PRIMESVC_PORT": "80"})


def test_a_variable_that_a_flag_overrides_is_not_read() -> None:
    """A variable that is not needed may say what it likes."""
    assert Settings.read({"port": "80"}, {"PRIMESVC_PORT": "http"}).port == 80


@pytest.mark.parametrize(
    ("name", "value"),
    [("port", 65536), ("workers", -1), ("engine", "steam"), ("job_ttl_s", math.nan)],
)
def test_settings_made_in_code_are_checked_too(name: str, value: object) -> None:
    """An embedder's wrong value is named by its field."""
    values: dict[str, Any] = {name: value}
    with pytest.raises(InvalidSetting, match=f"^{name}: ") as caught:
        Settings(**values)
    assert isinstance(caught.value, ValueError)


def test_the_bounds_themselves_are_allowed() -> None:
    """Both ends of every bound are valid."""
    for item in fields(Settings):
        for bound in (item.metadata["least"], item.metadata["most"]):
            if bound is not None:
                values: dict[str, Any] = {item.name: bound}
                assert getattr(Settings(**values), item.name) == bound


def test_settings_do_not_change() -> None:
    """Settings are immutable, have no other fields, and take no positional values."""
    make: Any = Settings
    with pytest.raises(dataclasses.FrozenInstanceError):
        make().port = 1
    with pytest.raises(TypeError):
        make("127.0.0.1")
    with pytest.raises(TypeError):
        make(colour="red")


# Documentation


@pytest.mark.parametrize("item", FIELDS)
def test_every_setting_explains_itself(item: "dataclasses.Field[Any]") -> None:
    """Every setting has a help of one line, and a unit unless it is a switch."""
    assert re.fullmatch(r"[^\n]{5,90}[^.\s]", item.metadata["help"])
    assert bool(item.metadata["unit"]) != isinstance(item.default, bool)
    assert callable(item.metadata["read"])
