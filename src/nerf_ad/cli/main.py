"""The command ``nerf-ad``: finds the verb, imports only that, and turns whatever goes wrong into a sentence.

Data goes to stdout, talk to stderr. Exit codes: 0 done, 1 failed, 2 misuse or bad input, 130 interrupted.
"""

import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import FrameType, MappingProxyType
from typing import Any, NamedTuple, cast

from nerf_ad import __version__
from nerf_ad.core.errors import BadInputError, NerfAdError

PROGRAM = "nerf-ad"


class Verb(NamedTuple):
    """A verb and where its work is."""

    arguments: str
    """What must be given, for the overview."""
    summary: str
    """One line for the overview."""
    module: str
    """Imported only when the verb is used."""
    entries: Mapping[str, str] = MappingProxyType({})
    """Sub-verbs and the names of their functions; the first is meant where none is given.

    Without them the module holds, under the verb's name, a function or a mapping of sub-verbs to functions.
    A function's signature is the command line; it returns an exit code or nothing.
    """


VERBS = {
    "check": Verb("VIDEO", "is this clip fit to train on?", "nerf_ad.cli.check"),
    "capture": Verb("VIDEO DATASET", "a video of one person becomes a dataset", "nerf_ad.cli.capture"),
    "train": Verb("PRESET DATASET AVATAR", "fit an avatar to a dataset", "nerf_ad.cli.train"),
    "render": Verb("AVATAR AUDIO VIDEO", "let an avatar speak new audio", "nerf_ad.cli.render"),
    "evaluate": Verb(
        "AVATAR DATASET",
        "an avatar against held-out frames; or --video against --reference",
        "nerf_ad.cli.evaluate",
    ),
    "benchmark": Verb(
        "capture|methods ...",
        "measure capture against the truth, or methods against each other",
        "nerf_ad.cli.benchmark",
        {"capture": "benchmark_capture", "methods": "benchmark_methods"},
    ),
    "synthesize": Verb("VIDEO", "film a synthetic person, with the truth about it", "nerf_ad.cli.synthesize"),
    "demo": Verb(
        "FOLDER", "a synthetic person becomes an avatar, with a page to look at", "nerf_ad.cli.demo"
    ),
    "weights": Verb(
        "[list|fetch]",
        "third-party weights: what, whose, where, how big",
        "nerf_ad.cli.weights",
        {"list": "list_weights", "fetch": "fetch_weights"},
    ),
    "inspect": Verb("PATH", "what is in a dataset, an avatar or a video", "nerf_ad.cli.inspect"),
    "doctor": Verb("", "what this machine has and lacks", "nerf_ad.cli.doctor"),
}


def run() -> None:
    """Entry point of the installed command. Libraries' warnings are for developers (``python -W`` shows)."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    # Before torch is imported: threads that wait give their core away. With other work on the machine, those
    # that spin instead made two cores slower than one (docs/decisions/0010).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says and return the exit code.

    Args:
        arguments: the command line after the program's name. ``--debug`` may stand anywhere before a ``--``.
    """
    words, debug = _take_debug(list(arguments))
    _treat_termination_as_interrupt()
    try:
        _refuse_broken_names(words)
        code = _dispatch(words)
        sys.stdout.flush()
    except SystemExit as stop:  # tyro: help (0) or misuse (2)
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BrokenPipeError:
        # Who read our output has gone. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return _fail("interrupted; what was saved is kept", None, code=130, debug=debug, label="")
    except NerfAdError as error:
        return _fail(error.message, error.hint, code=error.exit_code, debug=debug)
    except ModuleNotFoundError as error:
        return _explain_missing_module(error, debug=debug)
    except Exception as error:  # noqa: BLE001 - the last resort: nobody is shown a traceback unasked
        return _explain_surprise(error, debug=debug)
    return code


def overview() -> str:
    """What ``nerf-ad --help`` prints."""
    rows = [(f"{name} {verb.arguments}".strip(), verb.summary) for name, verb in VERBS.items()]
    width = max(len(usage) for usage, _ in rows)
    lines = [
        f"usage: {PROGRAM} VERB ... [--debug]",
        "",
        "A minute of video of one person becomes an avatar that speaks any audio.",
        "",
        *(f"  {usage:<{width}}  {summary}" for usage, summary in rows),
        "",
        f"{PROGRAM} VERB --help   explains a verb and its options",
        f"{PROGRAM} --version     prints the version",
        "--debug               shows where an error came from",
    ]
    return "\n".join(lines)


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in {"-h", "--help", "help"}:
        print(overview(), file=sys.stdout if words else sys.stderr)
        return 0 if words else 2
    name, rest = words[0], words[1:]
    if name == "--version":
        print(f"{PROGRAM} {__version__}")  # noqa: T201 - data
        return 0
    if name not in VERBS:
        import difflib

        close = difflib.get_close_matches(name, VERBS, n=1)
        what = "option" if name.startswith("-") else "verb"
        hint = f"did you mean {PROGRAM} {close[0]}?" if close else f"see {PROGRAM} --help"
        return _fail(f"there is no {what} {name!r}", hint, code=2, debug=False)
    return _perform(name, rest)


def _perform(name: str, rest: list[str]) -> int:
    """Parse ``rest`` after the signature of the verb's function, and call it."""
    verb = VERBS[name]
    module = import_module(verb.module)
    import tyro

    if os.environ.get("NO_COLOR"):
        tyro._experimental_options["ansi_codes"] = False  # its only switch that comes after the import

    # Required things are positional, choices are options, and no flag has a negative twin.
    config = (tyro.conf.PositionalRequiredArgs, tyro.conf.FlagCreatePairsOff)
    prog = f"{PROGRAM} {name}"
    target: Any = getattr(module, name, None)
    if verb.entries:
        target = {entry: getattr(module, function) for entry, function in verb.entries.items()}
        if not rest or (rest[0].startswith("-") and rest[0] not in {"-h", "--help"}):
            rest = [next(iter(verb.entries)), *rest]
    if isinstance(target, dict):
        result = tyro.extras.subcommand_cli_from_dict(target, prog=prog, args=rest, config=config)
    else:
        result = tyro.cli(cast(Callable[..., Any], target), prog=prog, args=rest, config=config)
    return int(result or 0)


def _take_debug(words: list[str]) -> tuple[list[str], bool]:
    end = words.index("--") if "--" in words else len(words)
    kept = [word for word in words[:end] if word != "--debug"]
    return kept + words[end:], len(kept) < end


def _fail(message: str, hint: str | None, *, code: int, debug: bool, label: str = "error: ") -> int:
    if debug and sys.exc_info()[0] is not None:
        traceback.print_exc()
    print(f"{label}{message}", file=sys.stderr)  # noqa: T201 - talk
    if hint:
        print(f"hint: {hint}", file=sys.stderr)  # noqa: T201 - talk
    return code


def _refuse_broken_names(words: list[str]) -> None:
    """Names that are no text cannot be written into manifests and events."""
    for word in words:
        if any("\ud800" <= letter <= "\udfff" for letter in word):
            raise BadInputError(f"{word!a} is not valid UTF-8", hint="rename the file or folder")


def _explain_surprise(error: Exception, *, debug: bool) -> int:
    if isinstance(error, MemoryError) or "allocate" in str(error).lower() or "out of memory" in str(error):
        return _fail("there is not enough memory for this", "choose smaller numbers", code=1, debug=debug)
    from pydantic import ValidationError

    # Options are checked by the configs that they fill; any other model that does not fit is our own fault.
    if isinstance(error, ValidationError) and error.title.endswith("Config"):
        fault = error.errors()[0]
        where = "-".join(str(part).replace("_", "-") for part in fault["loc"])
        return _fail(f"--{where}: {fault['msg'].lower()}", None, code=2, debug=debug)
    what = " ".join(f"{type(error).__name__}: {error}".split())
    hint = f"run it again with --debug to see where (this is a fault of {PROGRAM}; please report it)"
    return _fail(f"something unexpected: {what[:500]}", hint, code=1, debug=debug)


def _explain_missing_module(error: ModuleNotFoundError, *, debug: bool) -> int:
    missing = error.name or str(error)
    if missing in {verb.module for verb in VERBS.values()}:
        verb = missing.rpartition(".")[2]
        return _fail(f"the verb {verb!r} is not in this version", None, code=1, debug=debug)
    package = missing.partition(".")[0]
    if package == __name__.partition(".")[0]:
        return _explain_surprise(error, debug=debug)
    hint = f"install it with: pip install {package}"
    if package == "mediapipe":
        hint = 'install it with: pip install "nerf-ad[face]"'
    return _fail(f"the Python package {package} is not installed", hint, code=1, debug=debug)


def _treat_termination_as_interrupt() -> None:
    """A polite kill saves like Ctrl-C. Forked children, which inherit the handler, just end."""
    owner = os.getpid()

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        if os.getpid() != owner:
            os._exit(143)
        raise KeyboardInterrupt

    if hasattr(signal, "SIGTERM") and _in_main_thread():
        signal.signal(signal.SIGTERM, interrupt)


def _in_main_thread() -> bool:
    import threading

    return threading.current_thread() is threading.main_thread()
