"""The fixed text around a user's prompt, after which a language model writes a label."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from routellm_core.errors import CheckpointFormatError, ConfigurationError

QUESTION = "{question}"
"""Where the user's prompt goes in a template."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelPrompt:
    """What is read before and after the user's prompt.

    Attributes:
        prefix: The text before it, the marks of the chat format included.
        suffix: The text after it.
        header: What the model itself writes between the suffix and the label; empty if the label comes at once.
        add_special_tokens: Whether the tokenizer adds the mark that begins a text; False if the prefix has it.
    """

    prefix: str
    suffix: str
    header: str = ""
    add_special_tokens: bool = False

    @classmethod
    def from_chat_template(cls, tokenizer: Any, *, system: str | None, question: str = QUESTION) -> Self:
        """Take the chat format that a tokenizer carries, up to where the model's answer begins.

        Args:
            tokenizer: A tokenizer of transformers with a chat template.
            system: The system message; None for none.
            question: The user's message, with `{question}` where the prompt goes; nothing else in it is replaced.

        Raises:
            ConfigurationError: If there is no chat template, or not exactly one `{question}` in the outcome.
        """
        if not getattr(tokenizer, "chat_template", None):
            raise ConfigurationError("the tokenizer has no chat template: give LabelPrompt(prefix=..., suffix=...)")
        messages = [] if system is None else [{"role": "system", "content": system}]
        messages.append({"role": "user", "content": question})
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        prefix, found, suffix = text.partition(QUESTION)
        if not found or QUESTION in suffix:
            raise ConfigurationError(f"the messages must have {QUESTION} once, where the prompt goes")
        return cls(prefix=prefix, suffix=suffix)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """Read what `to_dict` returned.

        Raises:
            CheckpointFormatError: If it is something else.
        """
        kinds = {"prefix": str, "suffix": str, "header": str, "add_special_tokens": bool}
        if not isinstance(data, Mapping) or any(type(data.get(key)) is not kind for key, kind in kinds.items()):
            raise CheckpointFormatError(
                "config.json: parameter 'prompt' must hold the texts 'prefix', 'suffix' and 'header', and 'add_special_tokens'"
            )
        return cls(**{key: data[key] for key in kinds})
