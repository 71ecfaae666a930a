"""What the synthetic person says: our own sentences, or a user's text.

Written for this package, so they may be shared with it. They hold every phoneme of American English, many
lip closures, and no word whose sound depends on its meaning (read, lead, wind): the lexicon cannot tell.
"""

import re
import unicodedata
from pathlib import Path

import numpy as np

from nerf_ad.core.errors import BadInputError

MAX_BYTES = 200_000
"""Of a text file: about three hours of speech."""
MAX_LETTERS = 300
"""Of a sentence: some twenty seconds, as much as the voice can say at once."""

SENTENCES = (
    "Good morning, and thank you for making time for this conversation today.",
    "My grandmother baked plum cake every Sunday before the family arrived.",
    "The harbour was quiet, apart from a few gulls above the fishing boats.",
    "Please put the blue umbrella beside the door, because it might rain by noon.",
    "We usually measure the temperature twice, once at dawn and once after supper.",
    "A small brown puppy jumped over the puddle and barked at its own shadow.",
    "Nobody believed the old map until we found the bridge it had promised.",
    "The museum opens at nine, but the garden behind it never closes.",
    "Could you show me which of these five switches turns off the fan?",
    "He polished his shoes, buttoned his jacket, and walked slowly to the platform.",
    "Their youngest daughter plays the oboe remarkably well for her age.",
    "I thought the path would be shorter, though the view was worth the climb.",
    "My uncle gave everybody a warm loaf of bread and a bowl of vegetable soup.",
    "Bumblebees move from bloom to bloom while the poppies are still wet.",
    "Choose a cheerful picture for the cover, and a simple one for the back page.",
    "The treasure they were after was nothing more than a rusty tin box.",
    "Maybe we should postpone the picnic, since the forecast mentions thunder.",
    "George usually joins us for lunch when the project is going smoothly.",
    "Every window in the village was glowing with soft yellow light.",
    "The pilot calmly explained why the plane would be leaving half an hour late.",
    "Five fat frogs were floating on a raft made of leaves and feathers.",
    "If you mix blue paint with a bit of yellow, you get a beautiful green.",
    "My brother repairs bicycles, typewriters, and now and then a piano.",
    "She whispered something funny, and the whole bench began to shake with laughter.",
    "The machine hums while it is warming up, so do not be alarmed.",
    "On Thursday the theatre is showing both parts of the same long story.",
    "Put a pinch of pepper in the pan before you pour the broth.",
    "How many mountains can you count from the top of that tower?",
    "The committee met for most of the afternoon without reaching a decision.",
    "An orange kite was caught in the branches of the tallest oak tree.",
    "Whoever borrowed my hammer, please bring it back before the weekend.",
    "Our train passed through eleven tunnels and over a very narrow bridge.",
    "The singer paused, smiled at the crowd, and started the chorus again.",
    "I have always wondered why cats prefer the box to the expensive toy.",
    "Fresh snow had covered the fields, the fences, and the roof of the barn.",
    "He speaks three languages, but he dreams in only one of them.",
    "Ask the chemist whether this mixture is supposed to bubble and fizz.",
    "The baby laughed at the paper moon hanging above the bed.",
    "With enough patience, even a huge puzzle becomes a finished picture.",
    "We bought apples, pears, cheese, and a jar of honey at the market.",
    "Somebody has moved the ladder that I left leaning against the shed.",
    "The judge listened carefully, then asked the witness to begin again.",
    "Beneath the floor there was a room full of maps, lamps, and empty bottles.",
    "You will see a white house with a purple roof just beyond the church.",
    "It took them six months to build the boat and six minutes to sink it.",
    "The voice on the telephone was so faint that I could hardly hear it.",
    "Perhaps tomorrow the fog will lift and we can finally see the coast.",
    "A clever fox waited beside the river until the hunters had gone away.",
    "Do you remember the name of the song that they played at the wedding?",
    "The shop on the corner repairs watches, clocks, and old music boxes.",
    "Most of the island is forest, with a few farms along the southern shore.",
    "When the bell rang, the children rushed out into the bright schoolyard.",
    "I would rather walk for an hour than wait for that crowded bus.",
    "The doctor advised him to sleep more, worry less, and drink plenty of water.",
    "Part of the problem is that nobody agrees about what the problem is.",
    "Two yellow lemons rolled off the table and vanished under the stove.",
    "In the evening the whole valley smells of wood smoke and wild mint.",
    "Remember to breathe, open your mouth, and let every vowel ring.",
    "Her father taught physics, yet he could also bake a marvellous pie.",
    "The bottom drawer is stuck, so pull it firmly but gently toward you.",
    "They voted to keep the park open for everyone throughout the year.",
    "A thousand paper lanterns floated down the river and out to the sea.",
    "I am happy to report that the experiment worked exactly as we had hoped.",
    "Thank you for listening, and please come back whenever you like.",
)  # fmt: skip
"""Enough for more than three minutes of speech; to learn from."""

DEMO_SENTENCES = (
    "Hello, I have never existed, and nobody ever filmed me saying these words.",
    "My lips follow a voice that this model did not hear while it was learning.",
    "People, mumble, bubble, five, very, ooh, and ah: watch how the shapes change.",
    "If my mouth closes whenever you hear a p, a b, or an m, everything works.",
    "That is all for now, so goodbye, and enjoy making a person of your own.",
)
"""Held out: none of them is in ``SENTENCES``."""

_SIGNS = str.maketrans("’‘–…()", "''—.,,", '“”"')  # noqa: RUF001
_END = re.compile(r"(?<=[.!?])\s+")
_ALLOWED = re.compile(r"[A-Za-z ,;:.!?'—-]*")


def training_sentences(*, seed: int = 0) -> tuple[str, ...]:
    """``SENTENCES`` in an order of their own for every seed; 0 keeps the order."""
    if seed == 0:
        return SENTENCES
    return tuple(SENTENCES[i] for i in np.random.default_rng(seed).permutation(len(SENTENCES)))


def read_script(path: Path) -> tuple[str, ...]:
    """The sentences of a user's text: UTF-8, English in Latin letters, numbers written as words.

    A sentence ends at ``.``, ``!`` or ``?`` followed by a blank, and at an empty line.

    Raises:
        BadInputError: missing, too large, not UTF-8, without words, or a sentence that cannot be spoken;
            names the first one.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(raw) > MAX_BYTES:
        raise BadInputError(f"{path} has more than {MAX_BYTES} bytes", hint="give a shorter text")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path} is not text in UTF-8", hint="save it as UTF-8") from error
    sentences = split_sentences(text)
    if not any(map(_has_words, sentences)):
        raise BadInputError(f"{path} holds no words", hint="write a few English sentences")
    for sentence in sentences:
        if fault := _fault(sentence):
            raise BadInputError(f"{path}: {sentence[:40]!r} {fault[0]}", hint=fault[1])
    return tuple(filter(_has_words, sentences))


def split_sentences(text: str) -> tuple[str, ...]:
    """Sentences in plain signs: accents, quotation marks and line breaks are gone."""
    plain = unicodedata.normalize("NFKD", text.translate(_SIGNS))
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    paragraphs = re.split(r"\n\s*\n", plain.replace("\r\n", "\n"))
    parts = (part for paragraph in paragraphs for part in _END.split(" ".join(paragraph.split())))
    return tuple(part.strip() for part in parts if part.strip())


def _has_words(sentence: str) -> bool:
    return any(c.isalpha() for c in sentence)


def _fault(sentence: str) -> tuple[str, str] | None:
    if any(c.isdigit() for c in sentence):
        return "holds a number in digits", "write numbers as words"
    if len(sentence) > MAX_LETTERS:
        return f"has more than {MAX_LETTERS} characters", "end sentences with a full stop"
    if not _ALLOWED.fullmatch(sentence):
        sign = next(c for c in sentence if not _ALLOWED.fullmatch(c))
        return f"holds {sign!r}, which the voice cannot say", "use English words and plain punctuation"
    return None
