"""What the command line says when things go well and when they do not."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from nerf_ad import __version__
from nerf_ad.cli import main as command
from nerf_ad.core.errors import MediaError, NerfAdError

Use = Callable[[Callable[..., int | None]], None]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    """Makes a function the verb ``act``."""

    def install(function: Callable[..., int | None]) -> None:
        module = ModuleType("nerf_ad_acting")
        module.act = function  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "nerf_ad_acting", module)
        monkeypatch.setitem(command.VERBS, "act", command.Verb("", "acts", "nerf_ad_acting"))

    return install


def refuse(error: BaseException) -> Callable[[], int]:
    """A verb that fails like that."""

    def act() -> int:
        raise error

    return act


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (MediaError("no sound", hint="record it again"), 2, "error: no sound\nhint: record it again\n"),
        (NerfAdError("the disk is full"), 1, "error: the disk is full\n"),
        (KeyboardInterrupt(), 130, "interrupted; what was saved is kept\n"),
    ],
)
def test_errors_are_sentences_with_their_own_exit_code(
    error: BaseException, code: int, said: str, use: Use, capsys: pytest.CaptureFixture[str]
) -> None:
    use(refuse(error))
    assert command.main(["act"]) == code
    assert capsys.readouterr() == ("", said)


def test_surprises_are_one_sentence_and_a_hint(use: Use, capsys: pytest.CaptureFixture[str]) -> None:
    use(refuse(RuntimeError("on\ntwo lines")))
    assert command.main(["act"]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first == "error: something unexpected: RuntimeError: on two lines"
    assert "--debug" in second


@pytest.mark.parametrize("words", [["--debug", "act"], ["act", "--debug"]])
def test_debug_anywhere_shows_the_traceback(
    words: list[str], use: Use, capsys: pytest.CaptureFixture[str]
) -> None:
    use(refuse(RuntimeError("deep")))
    assert command.main(words) == 1
    assert "Traceback" in capsys.readouterr().err


def test_required_things_are_positional_and_choices_are_options(use: Use) -> None:
    seen: list[object] = []

    def act(video: Path, *, size: int = 512, force: bool = False) -> None:
        seen.extend([video, size, force])

    use(act)
    assert command.main(["act", "a.mp4", "--size", "256", "--force"]) == 0
    assert seen == [Path("a.mp4"), 256, True]


@pytest.mark.parametrize(
    "words", [["act", "--nonsense"], ["act", "--size", "many"], ["act", "--no-force"], []]
)
def test_misuse_exits_2_and_keeps_stdout_clean(
    words: list[str], use: Use, capsys: pytest.CaptureFixture[str]
) -> None:
    def act(*, size: int = 1, force: bool = False) -> None:
        raise AssertionError

    use(act)
    assert command.main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err


def test_unknown_verb_is_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["captrue"]) == 2
    assert (
        capsys.readouterr().err == "error: there is no verb 'captrue'\nhint: did you mean nerf-ad capture?\n"
    )


def test_version_and_help_are_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--version"]) == 0
    assert capsys.readouterr().out == f"nerf-ad {__version__}\n"
    assert command.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in command.VERBS)


def test_missing_package_is_explained(use: Use, capsys: pytest.CaptureFixture[str]) -> None:
    use(refuse(ModuleNotFoundError("No module named 'mediapipe'", name="mediapipe")))
    assert command.main(["act"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: the Python package mediapipe is not installed",
        'hint: install it with: pip install "nerf-ad[face]"',
    ]


@pytest.mark.parametrize("verb", sorted(command.VERBS))
def test_every_verb_explains_every_option(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = command.main([verb, "--help"])
    out, err = capsys.readouterr()
    if "is not in this version" in err:
        pytest.skip(f"{verb} is not written yet")
    assert code == 0
    assert out.startswith(f"usage: nerf-ad {verb}")


def test_a_reader_that_leaves_is_no_error() -> None:
    script = f"{sys.executable} -m nerf_ad --help | true"
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_termination_is_an_interrupt(tmp_path: Path) -> None:
    module = tmp_path / "slow_verb.py"
    module.write_text("import time\ndef act():\n    print('ready', flush=True)\n    time.sleep(30)\n")
    program = (
        "import sys; from nerf_ad.cli import main as m; "
        "m.VERBS['act'] = m.Verb('', '', 'slow_verb'); sys.exit(m.main(['act']))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert err == "interrupted; what was saved is kept\n"


def test_overview_imports_nothing_that_is_slow_to_import() -> None:
    program = (
        "import sys; from nerf_ad.cli.main import main; main(['--help']);"
        "sys.exit(bool({'torch', 'numpy', 'scipy', 'av', 'mediapipe', 'matplotlib'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)
