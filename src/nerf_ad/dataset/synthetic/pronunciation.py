"""English spelling to phonemes: the lexica that come with Hibari, and rules for words they lack.

The alphabet is misaki's, which Hibari speaks: IPA, one character a phoneme, with capitals for diphthongs
(A = eɪ, I = aɪ, O = oʊ, W = aʊ, Y = ɔɪ), ʧ ʤ for affricates, ᵊ and ᵻ for reduced vowels, ɾ for the flap.
ˈ and ˌ before a vowel are primary and secondary stress. A phonemised sentence keeps the blanks between words
and the punctuation, since both take time.
"""

# ruff: noqa: RUF001, RUF002 - phonetic letters look like others

import gzip
import json
import re
from pathlib import Path
from typing import Protocol, runtime_checkable

from nerf_ad.core.errors import WeightsError

VOWELS = "AIOWYQaeiouæɑɐɒɔəɚɛɜɪʊʌᵊᵻ"
"""Every vowel that may occur."""
CONSONANTS = "bdfhjklmnpstvwzðŋɡɹɾʃʒʤʧθʔx"
"""Every consonant that may occur."""
DIPHTHONGS = {"A": "eɪ", "I": "aɪ", "O": "oʊ", "Q": "oʊ", "W": "aʊ", "Y": "ɔɪ"}
"""Vowels that glide from one to another."""
STRESS = "ˈˌ"
"""Marks before a stressed vowel, the stronger first."""
STOPS = ",;:.!?—"
"""Punctuation with a pause."""

_TOKEN = re.compile(r"[A-Za-z]+(?:['-][A-Za-z]+)*|[,;:.!?—]")
_WEAK = {
    "a": "ɐ", "an": "ɐn", "and": "ænd", "are": "ɑɹ", "as": "æz", "at": "æt", "but": "bʌt", "by": "bI",
    "for": "fɔɹ", "from": "fɹʌm", "had": "hæd", "has": "hæz", "have": "hæv", "he": "hi", "her": "hɜɹ",
    "his": "hɪz", "i": "ˌI", "in": "ɪn", "is": "ɪz", "it": "ɪt", "its": "ɪts", "my": "mI", "of": "ʌv",
    "on": "ɔn", "or": "ɔɹ", "our": "Wɹ", "she": "ʃi", "that": "ðæt", "their": "ðɛɹ", "they": "ðA",
    "was": "wʌz", "we": "wi", "were": "wɜɹ", "with": "wɪð", "you": "ju", "your": "jʊɹ",
}  # fmt: skip
"""Words that carry no stress."""

_RULES = (
    ("tion", "ʃən"), ("sion", "ʒən"), ("ture", "ʧəɹ"), ("ough", "O"), ("augh", "ɔ"), ("eigh", "A"),
    ("igh", "I"), ("dge", "ʤ"), ("tch", "ʧ"), ("sch", "sk"), ("ous$", "əs"), ("ful$", "fᵊl"), ("qu", "kw"),
    ("(?<=[td])ed$", "ᵻd"), ("(?<=[pkfsxh])ed$", "t"), ("(?<=[b-df-hj-np-tv-z])ed$", "d"),
    ("(?<=.)le$", "ᵊl"), ("(?<=.)er$", "əɹ"), ("(?<=.)y$", "i"), ("y$", "I"), ("ch", "ʧ"), ("sh", "ʃ"),
    ("ph", "f"), ("rh", "ɹ"), ("th", "θ"), ("wh", "w"), ("ck", "k"), ("ng$", "ŋ"), ("n(?=[kx])", "ŋ"),
    ("^kn", "n"), ("^wr", "ɹ"), ("gh", ""), ("oar", "ɔɹ"), ("oor", "ɔɹ"), ("air", "ɛɹ"), ("ear", "ɪɹ"),
    ("eer", "ɪɹ"), ("our", "ɔɹ"), ("ar", "ɑɹ"), ("er", "ɜɹ"), ("ir", "ɜɹ"), ("ur", "ɜɹ"), ("or", "ɔɹ"),
    ("ee", "i"),
    ("ea", "i"), ("oo", "u"), ("oa", "O"), ("ow$", "O"), ("ow", "W"), ("ou", "W"), ("oi", "Y"), ("oy", "Y"),
    ("ai", "A"), ("ay", "A"), ("au", "ɔ"), ("aw", "ɔ"), ("ew", "u"), ("ie", "i"), ("ei", "A"), ("ey", "i"),
    ("ue", "u"), ("ui", "u"), ("(?<=[^aeiou])e$", ""), ("c(?=[eiy])", "s"), ("g(?=[eiy])", "ʤ"),
    ("a(?=[b-df-hj-np-tvwz]e)", "A"), ("e(?=[b-df-hj-np-tvwz]e)", "i"), ("i(?=[b-df-hj-np-tvwz]e)", "I"),
    ("o(?=[b-df-hj-np-tvwz]e)", "O"), ("u(?=[b-df-hj-np-tvwz]e)", "u"), ("^e$", "i"), ("o$", "O"),
    ("a$", "ə"), ("a", "æ"), ("e", "ɛ"), ("i", "ɪ"), ("o", "ɑ"), ("u", "ʌ"), ("y", "ɪ"), ("c", "k"),
    ("g", "ɡ"), ("j", "ʤ"), ("x", "ks"), ("q", "k"), ("r", "ɹ"), ("s$", "z"),
    *((letter, letter) for letter in "bdfhklmnpstvwz"),
)  # fmt: skip
_COMPILED = tuple((re.compile(pattern), sound) for pattern, sound in _RULES)


@runtime_checkable
class Pronouncer(Protocol):
    """Says how a word sounds."""

    def __call__(self, word: str, *, is_last: bool) -> str | None:
        """Phonemes of a word, or None where it is not known; the last word of a clause may sound fuller."""
        ...


def phonemise(sentence: str, pronounce: Pronouncer | None = None) -> str:
    """Phonemes of a sentence with blanks and punctuation; ends with punctuation unless empty.

    Args:
        sentence: English in Latin letters; other signs are passed over.
        pronounce: asked for every word first; `spell_out` knows all the others.
    """
    tokens = _TOKEN.findall(sentence)
    if tokens and tokens[-1] not in STOPS:
        tokens.append(".")
    sounds: list[str] = []
    for token, following in zip(reversed(tokens), ["", *reversed(tokens)], strict=False):
        if token in STOPS:
            sounds.append(token + (" " if following else ""))
            continue
        is_last = following in STOPS or not following
        sound = _function_word(token, sounds[-1] if sounds and not is_last else "")
        sound = sound or (pronounce and pronounce(token, is_last=is_last)) or spell_out(token)
        sounds.append(sound if is_last else sound + " ")
    return "".join(reversed(sounds))


def spell_out(word: str) -> str:
    """Phonemes of a word from its letters alone: intelligible at best."""
    lower = re.sub("[^a-z]", "", word.lower())
    if lower in _WEAK:
        return _WEAK[lower]
    sound, at = "", 0
    lower = re.sub(r"([b-df-hj-np-tv-z])\1", r"\1", lower)
    while at < len(lower):
        for pattern, phonemes in _COMPILED:
            if match := pattern.match(lower, at):
                sound, at = sound + phonemes, match.end()
                break
        else:
            at += 1
    return re.sub(f"[{VOWELS}]", lambda vowel: "ˈ" + vowel[0], sound, count=1)


class Lexicon:
    """Hibari's two American word lists, with the endings -s, -ed and -ing of listed words."""

    def __init__(self, folder: Path) -> None:
        """Read ``lexicon_us_gold.json.gz`` (checked by hand) and ``lexicon_us_silver.json.gz`` (not).

        Raises:
            WeightsError: a list is missing or damaged.
        """
        self._entries: dict[str, str | dict[str, str | None]] = {}
        for name in ("silver", "gold"):
            path = folder / f"lexicon_us_{name}.json.gz"
            try:
                self._entries |= json.loads(gzip.decompress(path.read_bytes()))
            except (OSError, EOFError, ValueError) as error:
                raise WeightsError(f"{path} cannot be read", hint="nerf-ad weights fetch hibari") from error

    def __call__(self, word: str, *, is_last: bool) -> str | None:
        """Phonemes of a word or None."""
        found = self._entry(word, is_last=is_last) or self._inflected(word.lower())
        if found is None and "-" in word:
            return "".join(self(part, is_last=is_last) or spell_out(part) for part in word.split("-"))
        return found

    def _entry(self, word: str, *, is_last: bool) -> str | None:
        for spelling in dict.fromkeys((word.lower(), word, word.capitalize())):
            entry = self._entries.get(spelling)
            if isinstance(entry, dict):
                entry = (is_last and entry.get("None")) or entry.get("DEFAULT")
            if entry:
                return entry
        return None

    def _inflected(self, word: str) -> str | None:
        for ending, join in (("s", _join_s), ("ed", _join_ed), ("ing", _join_ing)):
            if len(word) > len(ending) + 2 and word.endswith(ending):
                for stem in _stems(word.removesuffix(ending)):
                    if sound := self._entry(stem, is_last=False):
                        return join(sound)
        return None


def _stems(rest: str) -> list[str]:
    """What may have stood before an ending: walk-, bak(e)-, carri-, poppie-, boxe-, stopp-, cat'-."""
    stems = [rest, rest + "e"]
    if rest.endswith(("i", "ie")):
        stems.append(rest.rstrip("ie") + "y")
    if rest[-1] in "e'" or rest[-1] == rest[-2]:
        stems.append(rest[:-1])
    return [stem for stem in stems if len(stem) > 1]


def _function_word(word: str, following: str) -> str | None:
    """Words whose sound depends on the next sound."""
    before_vowel = following.lstrip(STRESS)[:1] in VOWELS if following else False
    match word.lower():
        case "a":
            return "ɐ"
        case "an":
            return "ɐn"
        case "the":
            return "ði" if before_vowel else "ðə"
        case "to":
            return ("tʊ" if before_vowel else "tə") if following else None
        case "i":
            return "ˌI"
        case _:
            return None


def _join_s(sound: str) -> str:
    if sound[-1] in "szʃʒʧʤ":
        return sound + "ᵻz"
    return sound + ("s" if sound[-1] in "ptkfθ" else "z")


def _join_ed(sound: str) -> str:
    if sound[-1] in "td":
        is_flapped = sound[-1] == "t" and sound[-2:-1] in (*VOWELS, "ɹ")
        return (sound[:-1] + "ɾ" if is_flapped else sound) + "ᵻd"
    return sound + ("t" if sound[-1] in "pkfθʃsʧ" else "d")


def _join_ing(sound: str) -> str:
    return sound + "ɪŋ"
