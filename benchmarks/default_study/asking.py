"""A remedy against pasted text that the study tries: read the paragraphs that ask, and those that are no prose."""

import re

from routellm_core.routers.prompt_reading import read

_PARAGRAPHS = re.compile(r"\n\s*\n")
_NO_PROSE = re.compile(r"[|`{}=\\^<>]")
_OF_PASSAGES = re.compile(
    r"\b(?:following|below|above|given|provided|these)\b.{0,30}\b(?:passages?|contexts?|documents?|sources?|excerpts?)\b",
    re.IGNORECASE,
)
_LABEL = re.compile(r"^\s*(?:question|query|user|q)\s*:\s*", re.IGNORECASE)
_FIRST_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
        write explain give name list translate summarise summarize describe compare find solve fix rewrite implement turn design
        plan estimate check read work tell help suggest make add compute calculate determine evaluate show prove convert analyze
        imagine pretend edit identify extract provide create compose draft classify act assume consider suppose can could what
        which who when where why how is are do does should please
        """,
    )
)


def asking(prompt: str) -> str:
    """Return the paragraphs of a prompt that ask or are no prose; a prompt of one paragraph, or with choices, as it is."""
    paragraphs = [part for part in _PARAGRAPHS.split(prompt) if part.strip()]
    if len(paragraphs) < 2 or "choices" in read(prompt).form:
        return prompt
    kept = [_LABEL.sub("", part) for part in paragraphs if _asks(part) or len(_NO_PROSE.findall(part)) > 1]
    without = [part for part in kept if not _OF_PASSAGES.search(part)]
    return "\n\n".join(without or kept or paragraphs)


def _asks(paragraph: str) -> bool:
    first = re.search(r"[A-Za-z]+", _LABEL.sub("", paragraph))
    return "?" in paragraph or (first is not None and first.group().lower() in _FIRST_WORDS)
