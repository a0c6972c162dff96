"""Options of the form NAME=VALUE."""

from routellm_core.errors import ConfigurationError


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


def parse_price(text: str) -> tuple[str, dict[str, float]]:
    """Return the name and the fields of a price given as NAME=PRICE or NAME=INPUT,OUTPUT.

    Raises:
        ConfigurationError: If it has another form.
    """
    name, value = parse_named("--price", text)
    try:
        numbers = [float(part) for part in value.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2):
        raise ConfigurationError(
            f"--price {text!r} must be NAME=PRICE or NAME=INPUT,OUTPUT, in US dollars per million tokens"
        )
    return name, {"input": numbers[0], "output": numbers[-1]}
