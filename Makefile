# Two commands do all the set-up on a fresh machine: "make demo" and "make test".
VIDEO ?=
AUDIO ?=
SIZE ?= 256
MINUTES ?=
OUT ?=
QUICK ?=
# Read from the environment, so that no name is ever taken for a command.
export VIDEO AUDIO SIZE MINUTES OUT QUICK
# Without weights the tests that need them are skipped.
TEST_WEIGHTS = face-landmarker face-parser speech-encoder head-mesh face-units head-shapes head-masks hibari

.PHONY: help demo test check clean

help:
	@echo "make demo        make an avatar of a synthetic person, in under 20 minutes; look at demo/index.html"
	@echo "make demo QUICK=1"
	@echo "                 the same small and coarse, in 5 minutes, in demo-quick/"
	@echo "make demo VIDEO=person.mp4 AUDIO=speech.wav [SIZE=256] [MINUTES=10] [OUT=footage]"
	@echo "                 make an avatar of the person in the video and let it speak the sound"
	@echo "make test        run the tests"
	@echo "make check       format, lint, types, imports and tests, as before a commit"
	@echo "make clean       remove the virtual environment and the tools' caches"
	@echo
	@echo "PYTHON=/path/to/python3 chooses another Python (3.11 to 3.14)."

demo:
	@scripts/demo

test:
	@scripts/setup face,synthetic,dev
	@echo "== fetching third-party weights for the tests that use them"
	@.venv/bin/nerf-ad weights fetch --yes $(TEST_WEIGHTS) || echo "no weights: the tests that need them are skipped"
	@echo "== running the tests"
	@OMP_NUM_THREADS=1 .venv/bin/python -m pytest -q -n auto

check:
	@scripts/setup face,synthetic,dev
	@scripts/check

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
