"""What is said: the built-in sentences, and a user's text."""

# ruff: noqa: RUF001 - phonetic letters look like others

import re
from pathlib import Path

import pytest

from nerf_ad.core.errors import BadInputError
from nerf_ad.dataset.synthetic.pronunciation import CONSONANTS, STOPS, STRESS, VOWELS, phonemise, spell_out
from nerf_ad.dataset.synthetic.script import (
    DEMO_SENTENCES,
    MAX_BYTES,
    MAX_LETTERS,
    SENTENCES,
    read_script,
    split_sentences,
    training_sentences,
)


def words(sentence: str) -> list[str]:
    return re.findall(r"[a-z'-]+", sentence.lower())


def test_there_is_enough_to_say_and_nothing_twice() -> None:
    assert len(set(SENTENCES) | set(DEMO_SENTENCES)) == len(SENTENCES) + len(DEMO_SENTENCES)
    assert sum(len(words(sentence)) for sentence in SENTENCES) > 3 * 170  # three minutes of quick speech
    assert all(len(sentence) <= MAX_LETTERS for sentence in SENTENCES + DEMO_SENTENCES)


def test_built_in_sentences_are_as_a_user_would_have_to_write_them(tmp_path: Path) -> None:
    path = tmp_path / "script.txt"
    path.write_text("\n\n".join(SENTENCES + DEMO_SENTENCES), encoding="utf-8")
    assert read_script(path) == SENTENCES + DEMO_SENTENCES


def test_every_seed_has_its_order() -> None:
    assert training_sentences() == SENTENCES
    assert training_sentences(seed=1) == training_sentences(seed=1) != training_sentences(seed=2)
    assert sorted(training_sentences(seed=1)) == sorted(SENTENCES)


def test_text_becomes_plain_sentences() -> None:
    text = "“Héllo,” she said.\nWe’re here – at last…  Really?\r\n\r\nNo full stop\n\nBye (now)!"
    assert split_sentences(text) == (
        "Hello, she said.",
        "We're here — at last.",
        "Really?",
        "No full stop",
        "Bye ,now,!",
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no words"),
        (b"... !", "holds no words"),
        (b"caf\xe9", "not text in UTF-8"),
        (b"a" * (MAX_BYTES + 1), "more than"),
        (b"word " * 80, "more than 300 characters"),
        (b"It is 3 o'clock.", "number in digits"),
        ("Привет. Hello.".encode(), "holds 'П'"),
        (b"Well, 100 % sure_", "digits"),
        (b"You & me.", "holds '&'"),
    ],
)
def test_what_cannot_be_said_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "script.txt"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=re.escape(message)):
        read_script(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot be read"):
        read_script(tmp_path / "none.txt")


def test_spelling_rules_know_common_patterns() -> None:
    said = {word: spell_out(word) for word in ("ship", "made", "phone", "back", "moon", "quick", "knight")}
    assert said == {
        "ship": "ʃˈɪp",
        "made": "mˈAd",
        "phone": "fˈOn",
        "back": "bˈæk",
        "moon": "mˈun",
        "quick": "kwˈɪk",
        "knight": "nˈIt",
    }


def test_sentences_become_the_alphabet() -> None:
    assert phonemise("The apple, a pair. To eat?") == "ði ˈæpᵊl, ɐ pˈɛɹ. tʊ ˈit?"
    assert phonemise("the pear").startswith("ðə ")
    assert phonemise("1 + 2") == ""
    alphabet = set(VOWELS + CONSONANTS + STRESS + STOPS + " ")
    for sentence in SENTENCES + DEMO_SENTENCES:
        sounds = phonemise(sentence)
        assert set(sounds) <= alphabet
        assert len(sounds.split()) == len(sentence.replace("—", " ").split())
        assert sum(sign in VOWELS for sign in sounds) >= len(words(sentence)) * 0.95


def test_every_sound_of_english_is_spoken() -> None:
    said = set("".join(map(phonemise, SENTENCES)))
    assert set("pbtdkɡfvθðszʃʒʧʤmnŋlɹwjhiɪɛæɑɔʌuəɜAIOWY") <= said
