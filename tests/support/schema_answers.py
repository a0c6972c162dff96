"""Answers that fit a JSON schema, made from the prompt; what a fake model with tools or structured output replies."""

import re
from typing import Any


def answer_for(schema: dict[str, Any], prompt: str) -> Any:
    """Return a value that fits the schema.

    Strings take what the prompt quotes, else its last word; numbers take the numbers of the prompt, in order.
    """
    return _Filler(schema, prompt).value(schema)


def object_with_quoted_keys(prompt: str) -> dict[str, str]:
    """Return an object whose keys are what the prompt quotes, as in JSON mode, where no schema is sent."""
    return {key: f"a {key}" for key in _quoted(prompt)}


def _quoted(prompt: str) -> list[str]:
    return re.findall(r"['\"](\w[^'\"]*)['\"]", prompt)


class _Filler:
    def __init__(self, schema: dict[str, Any], prompt: str) -> None:
        self._definitions = schema.get("$defs", schema.get("definitions", {}))
        self._numbers = iter([int(number) for number in re.findall(r"-?\d+", prompt)])
        words = _quoted(prompt) or prompt.split() or ["nothing"]
        self._word = words[0] if _quoted(prompt) else words[-1]

    def value(self, schema: dict[str, Any]) -> Any:
        if "$ref" in schema:
            return self.value(self._definitions[schema["$ref"].rsplit("/", 1)[1]])
        if "enum" in schema:
            return schema["enum"][0]
        if "anyOf" in schema:
            return self.value(schema["anyOf"][0])
        kind = schema.get("type", "object")
        if kind == "object":
            return {key: self.value(part) for key, part in schema.get("properties", {}).items()}
        if kind == "array":
            return [self.value(schema.get("items", {"type": "string"}))]
        if kind in ("integer", "number"):
            return next(self._numbers, 1)
        return {"boolean": True, "null": None}.get(kind, self._word)
