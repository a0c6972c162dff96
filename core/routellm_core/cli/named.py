"""Options of the form NAME=VALUE."""

import json
import math
from collections.abc import Sequence
from typing import Any

from routellm_core.errors import ConfigurationError
from routellm_core.pricing import Price, look_up_price

PRICE_HELP = (
    "US dollars per million tokens: big=10,30 (input, output), big=10,30,1 (and cached input), small=0.24 (all alike), or "
    "big=list:gpt-5 (the list price; extra prices). May be repeated."
)


def parse_named(option: str, text: str) -> tuple[str, str]:
    """Split NAME=VALUE at its last equals sign.

    Args:
        option: For the error.
        text: What was given.

    Raises:
        ConfigurationError: If it has another form.
    """
    name, separator, value = text.rpartition("=")
    if not (name and separator and value):
        raise ConfigurationError(f"{option} {text!r} must be NAME=VALUE")
    return name, value


def parse_settings(option: str, texts: Sequence[str] | None) -> dict[str, Any]:
    """Return values given as NAME=VALUE, in JSON or else as text.

    Raises:
        ConfigurationError: If one has another form.
    """
    settings: dict[str, Any] = {}
    for name, value in (parse_named(option, text) for text in texts or ()):
        try:
            settings[name] = json.loads(value)
        except ValueError:
            settings[name] = value
    return settings


def parse_numbers(option: str, texts: Sequence[str] | None) -> dict[str, float]:
    """Return numbers of 0 or more given as NAME=NUMBER.

    Raises:
        ConfigurationError: If one has another form.
    """
    numbers = {}
    for name, value in (parse_named(option, text) for text in texts or ()):
        try:
            numbers[name] = float(value)
        except ValueError:
            numbers[name] = math.nan
        if not 0 <= numbers[name] < math.inf:
            raise ConfigurationError(f"{option}: {value!r} of {name!r} must be a number of 0 or more")
    return numbers


def parse_prices(texts: Sequence[str] | None) -> dict[str, Price]:
    """Return the prices of models given as --price NAME=PRICE.

    Raises:
        ConfigurationError: If one has another form.
    """
    return {name: parse_price(price) for name, price in (parse_named("--price", text) for text in texts or ())}


def parse_price(text: str) -> Price:
    """Return the price given as INPUT,OUTPUT, as one number, with a third for cached input, or as list:MODEL.

    Raises:
        ConfigurationError: If it has another form, or no list price is known.
        MissingDependencyError: If a list price is asked for without the extra `prices`.
    """
    if text.startswith("list:"):
        model = text.removeprefix("list:")
        found = look_up_price(model)
        if found is None:
            raise ConfigurationError(f"--price: no list price is known for {model!r}; give it in dollars")
        return found
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not 1 <= len(numbers) <= 3:
        raise ConfigurationError(
            f"--price: {text!r} must be one number, INPUT,OUTPUT or INPUT,OUTPUT,CACHED in US dollars per million tokens, or "
            "list:MODEL"
        )
    return Price(
        input=numbers[0],
        output=numbers[min(1, len(numbers) - 1)],
        cached_input=numbers[2] if len(numbers) > 2 else None,
    )
