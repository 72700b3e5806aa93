"""What reading a file has to say, in the language of the page: each sentence of the English list as the other's.

`words.admin.file_errors` holds the same sentences in the same order in each language, with the same gaps to fill.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache

from tutelage.web._pages import words

_GAP = re.compile(r"\\\{(\w+)\\\}")
_BEFORE = r"(?:(?<=^)|(?<=: )|(?<=; )|(?<=  ))"  # where a reason, a place or a mend begins
_AFTER = r"(?=:?$|; )"


def in_language(text: str, language: str) -> str:
    """`text` with every sentence that has a translation in that language; the others, and all names, as they are."""
    if language == "en":
        return text
    known: Sequence[str] = words("en")["admin"]["file_errors"]
    own: Sequence[str] = words(language)["admin"]["file_errors"]
    alike = dict(zip(known, own, strict=True))
    for pattern, template in zip(_patterns(), own, strict=True):
        text = pattern.sub(lambda found, to=template: to.format(**_gaps(found, alike)), text)
    return text


def _gaps(found: re.Match[str], alike: Mapping[str, str]) -> dict[str, str]:
    """What stands in the gaps; of a kind that is a sentence of the list, its own."""
    return {name: alike.get(value, value) for name, value in found.groupdict().items()}


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    known: Sequence[str] = words("en")["admin"]["file_errors"]
    told = (_GAP.sub(r"(?P<\1>[^\n]+?)", re.escape(sentence)) for sentence in known)
    return tuple(re.compile(_BEFORE + sentence + _AFTER, re.MULTILINE) for sentence in told)
