"""Which paragraphs of a prompt are read: those that ask, and what they ask about, rather than what was pasted around them."""

import re

_BLANK_LINE = re.compile(r"\n[ \t]*\n\s*")
_CHOICE = re.compile(r"[ \t]*\(?[A-J][.):]\s")
_ASKS = re.compile(
    r"""
    \? | \A\W*(?:
    add|analy[sz]e|answer|arrange|assume|build|calculate|change|choose|classify|compare|compose|compute|consider|construct|convert|
    correct|count|create|debug|define|derive|describe|design|determine|develop|discuss|draft|draw|edit|estimate|evaluate|examine|
    explain|extract|fill|find|fix|generate|give|help|identify|imagine|implement|improve|interpret|introduce|invent|let|list|make|match|
    modify|name|optimi[sz]e|organi[sz]e|outline|paraphrase|parse|perform|pick|plan|play|please|pretend|produce|proofread|propose|prove|
    provide|rank|rate|read|recommend|refactor|rephrase|reply|respond|return|review|revise|rewrite|select|show|simplify|simulate|solve|
    sort|speak|state|suggest|sum|summari[sz]e|take|tell|test|translate|turn|use|verify|visuali[sz]e|work|write|
    what|which|who|whom|whose|when|where|why|how|is|are|was|were|do|does|did|can|could|will|would|should|may|must|
    instruction|question|task|user
    )\b | ^[ \t]*\(?[A-J][.):][ \t]
    """,
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_MATERIAL = re.compile(r"[{}|`]|[0-9]\D+[0-9]")


def asking_paragraphs(text: str) -> str:
    """Return the paragraphs that ask, and those with code, a table or numbers; all, if none asks or all do.

    A paragraph asks if it has a question mark, begins with a question word or an order, or has choices; to choices belongs the
    paragraph before them.
    """
    if "\n" not in text or _BLANK_LINE.search(text) is None:
        return text
    paragraphs = [paragraph for paragraph in _BLANK_LINE.split(text) if paragraph.strip()]
    asks = [_ASKS.search(paragraph) is not None for paragraph in paragraphs]
    if all(asks) or not any(asks):
        return text
    read = [asked or _MATERIAL.search(one) is not None for asked, one in zip(asks, paragraphs, strict=True)]
    for i, paragraph in enumerate(paragraphs[1:]):
        read[i] = read[i] or _CHOICE.match(paragraph) is not None
    return "\n\n".join(paragraph for paragraph, kept in zip(paragraphs, read, strict=True) if kept)
