"""Everything that can go wrong in a way a user can mend.

    NerfAdError                 exit 1: the work failed
    ├── BadInputError           exit 2: what was given cannot be used
    │   ├── MediaError          a video or audio file
    │   ├── FormatError         a dataset or avatar folder
    │   └── UsageError          a combination of choices
    └── WeightsError            exit 1: third-party weights are missing, broken or unreachable

The command line prints ``error: <message>`` and, where there is one, ``hint: <hint>``.
"""


class NerfAdError(Exception):
    """One sentence that says what is wrong, and a hint that says what to do."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def with_hint(self) -> str:
        """Sentence and hint in one line, for whoever goes on without what is missing."""
        return self.message if self.hint is None else f"{self.message}; {self.hint}"


class BadInputError(NerfAdError):
    """What the user gave cannot be used."""

    exit_code = 2


class MediaError(BadInputError):
    """A video or audio file cannot be used."""


class FormatError(BadInputError):
    """A dataset or avatar folder cannot be used."""


class UsageError(BadInputError):
    """The choices do not fit together."""


class WeightsError(NerfAdError):
    """Third-party weights are missing, broken or out of reach."""
