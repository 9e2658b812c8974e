"""Cleans names, titles and texts that people enter, before they go anywhere else. Pure.

Invisible characters can make two names look alike, reverse the text after them, or break the line they stand in.
"""

import re
import unicodedata

_LINE_BREAKS = re.compile("\r\n|[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]")  # everything that some reader treats as one
# Visible format characters: signs of Arabic, Syriac and Kaithi that stand before a number.
_VISIBLE_FORMAT_CHARACTERS = frozenset(
    "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
)
# Blank, although not format characters: fillers of Hangul, the joiner of graphemes, blank Braille.
_BLANK_CHARACTERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_NON_JOINER, _JOINER = "\u200c", "\u200d"
_VIRAMA = 9  # the combining class of signs that join the letters of Indic scripts
_ARABIC = frozenset({"AL"})  # the bidirectional class of letters that are joined in writing


def single_line(text: str) -> str:
    """Return `text` on one line, without invisible characters.

    Breaks and tabs become spaces. Control characters, characters that change the direction and characters without width
    are dropped. A lone surrogate becomes U+FFFD.
    """
    return " ".join(clean_text(text).split("\n")).strip()


def nonblank_line(text: str) -> str:
    """Return `text` cleaned by `single_line`; ValueError if nothing visible is left."""
    cleaned = single_line(text)
    if not cleaned:
        raise ValueError("must say something")
    return cleaned


def clean_text(text: str) -> str:
    """Return `text` cleaned like `single_line`, except that each line break is kept as one LF."""
    normalized = _LINE_BREAKS.sub("\n", text).replace("\t", " ")
    return _drop_needless_joiners("".join(_clean_character(character) for character in normalized)).strip()


def _clean_character(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cs":
        return "\N{REPLACEMENT CHARACTER}"
    if character in _BLANK_CHARACTERS or _is_noncharacter(character) or (category == "Cc" and character != "\n"):
        return ""
    if category == "Cf" and character not in _VISIBLE_FORMAT_CHARACTERS and character not in {_NON_JOINER, _JOINER}:
        return ""
    return character


def _is_noncharacter(character: str) -> bool:
    """Whether Unicode reserves this code point as a noncharacter (section 23.7). XML accepts none of them."""
    code = ord(character)
    return code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF


def _drop_needless_joiners(text: str) -> str:
    """Return the text with joiners only where they change how their neighbours are written.

    That is in emoji of several parts (UTS 51), after a virama, and between Arabic letters (RFC 5892 appendix A).
    """
    kept: list[str] = []
    for position, character in enumerate(text):
        if character in {_NON_JOINER, _JOINER}:
            before = kept[-1] if kept else ""
            if not _joiner_matters(character, before, text[position + 1 : position + 2]):
                continue
        kept.append(character)
    return "".join(kept)


def _joiner_matters(joiner: str, before: str, after: str) -> bool:
    if not before or not after:
        return False
    if unicodedata.combining(before) == _VIRAMA:
        return unicodedata.category(after).startswith("L")
    if unicodedata.bidirectional(before) in _ARABIC:
        return unicodedata.bidirectional(after) in _ARABIC
    part_of_emoji = unicodedata.category(before) in {"So", "Sk"} or before == "\N{VARIATION SELECTOR-16}"
    return joiner == _JOINER and part_of_emoji and unicodedata.category(after) in {"So", "Sm"}
