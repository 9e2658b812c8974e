"""What people may put into a name or title, and what is taken out before it goes anywhere. Pure.

Characters that nobody sees make two names look alike, turn the text after them around, or break the line they stand in.
"""

import re
import unicodedata

_LINE_BREAKS = re.compile("\r\n|[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]")  # whatever any reader may take for one
# Format characters that are seen: signs of Arabic, Syriac and Kaithi that stand before a number.
_VISIBLE_FORMAT_CHARACTERS = frozenset(
    "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
)
# Not of that category, and blank all the same: fillers of Hangul, the joiner of graphemes, blank Braille.
_BLANK_CHARACTERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_NON_JOINER, _JOINER = "\u200c", "\u200d"
_VIRAMA = 9  # the combining class; it joins the letters of Indic scripts
_ARABIC = frozenset({"AL"})  # the bidirectional class of letters that are joined in writing


def single_line(text: str) -> str:
    """`text` on one line, without what nobody sees: breaks and tabs become spaces; control characters, characters that
    turn the direction and those without width are dropped; what is no character (a lone surrogate) becomes U+FFFD."""
    return " ".join(clean_text(text).split("\n")).strip()


def nonblank_line(text: str) -> str:
    """A name or title on one line, as `single_line` cleans it; ValueError where nothing is left that one sees."""
    cleaned = single_line(text)
    if not cleaned:
        raise ValueError("must say something")
    return cleaned


def clean_text(text: str) -> str:
    """`text` cleaned like `single_line`, but its line breaks are kept, each as one LF."""
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
    """Whether Unicode promises that this is never a character (section 23.7); XML takes none of them."""
    code = ord(character)
    return code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF


def _drop_needless_joiners(text: str) -> str:
    """The text with a joiner or non-joiner only where it changes how its neighbours are written: in emoji of several
    parts (UTS 51), after a virama, and between Arabic letters (RFC 5892 appendix A)."""
    kept: list[str] = []
    for position, character in enumerate(text):
        if character in {_NON_JOINER, _JOINER}:
            before, after = kept[-1] if kept else "", text[position + 1 : position + 2]
            if not _joiner_matters(character, before, after):
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
