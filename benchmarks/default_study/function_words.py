"""A remedy for short prompts in other languages that are taken for English: longer lists of function words."""

import re

from routellm_core.routers.prompt_reading import read

_FOREIGN = frozenset(
    re.findall(
        r"\w+",
        """
        der das und ist nicht ein eine einen einer einem eines mit auf für von zu wie warum welche welcher welches wenn sich dem
        sind wird kann was wer wo wann schreibe schreib erkläre nenne gib mir ich er sie es wir ihr dein mein im bei nach über
        auch nur oder aber haben hat sein kein zwei drei soll gibt
        el los las una que por para con como cuál qué del más quién dónde cuándo cuánto cuánta cuántos cuántas cómo al lo le se
        su sus son está están ser hay muy pero si yo tú mi tu en unos unas y escribe explica dame nombra sobre tres dos hasta
        les des et est pour dans qui une sur au aux ce cette ces quoi où quand comment pourquoi combien je il elle nous vous ils
        ne pas plus par avec sans être écris explique
        che sono della non gli di da per tra fra chi cosa dove quando come perché quanto io lui lei noi scrivi spiega è
        os uma em na nos nas dos das ao com sem quem onde como porque eu você ele ela são escreva explique
        """,
    )
) - {"was", "die", "come", "per", "das", "son"}
_ENGLISH = frozenset(
    re.findall(
        r"\w+",
        """
        the a an of to in is are was and or for with on that this it as be by from at what which how why who when where does do
        did can you your i my me not if write give make find explain describe list name should would could many much there his her
        """,
    )
)


def english(prompt: str) -> bool:
    """Say whether a prompt is taken for English: by the shipped reading, and by no more foreign function words than English."""
    reading = read(prompt)
    foreign = len(reading.distinct & _FOREIGN)
    return reading.english and foreign <= len(reading.distinct & _ENGLISH)
