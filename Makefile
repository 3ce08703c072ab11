# `make demo` and `make test` do everything on a fresh machine with Python 3.11 to 3.13; a second call starts at once.
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(shell for p in python3.12 python3.13 python3.11 python3; do $$p -c '$(SUPPORTED)' 2>/dev/null && echo $$p && break; done)
CORES ?= $(shell nproc)
BIN := .venv/bin
DEMO := results/Astronaut_driven_by_Admiral.mp4
PAGE := results/Astronaut.html
REPORT := results/report.html
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: setup doctor demo live test test-slurm test-browser bench lint clean

setup: .venv/ready

.venv/ready: requirements.txt requirements-no-deps.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 to 3.13 is needed; name it: make PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-no-deps.txt
	touch $@

doctor: setup
	@$(BIN)/python -m pipeline.doctor

demo: setup
	$(BIN)/snakemake --cores $(CORES) --keep-going --configfile workflow/presets/demo.yaml --report $(REPORT) --report-after-run -- $(DEMO) $(PAGE)
	@printf '\nvideo         %s\nside by side  %s\nfigures       %s\n' $(DEMO) $(DEMO:.mp4=.side_by_side.mp4) $(DEMO:.mp4=.metrics.json)
	@printf 'report        %s\nlive page     %s\n' $(REPORT) $(PAGE)

# Live pages on several threads, which a page opened as a file has not.
live: setup
	$(BIN)/python -m pipeline.serve --folder results --port 8000

test: setup lint
	$(BIN)/python -m pytest -q --durations=5

# Brings up a Slurm of its own with two fake GPUs and stops it again; Debian or Ubuntu, root or sudo where it lacks.
test-slurm: setup
	tests/with_slurm.sh $(BIN)/python -m pytest -q --durations=5 -m slurm tests/test_slurm.py

# Drives the demo's page with a real Chromium; Debian or Ubuntu, root or sudo where it lacks.
test-browser: setup
	tests/with_chromium.sh $(BIN)/snakemake --cores $(CORES) --configfile workflow/presets/demo.yaml -- $(PAGE)
	$(BIN)/python -m pytest -q --durations=5 -m browser

bench: setup
	$(BIN)/snakemake --cores $(CORES) --quiet all -- weights/face_landmark_with_attention.tflite
	TQDM_DISABLE=1 $(BIN)/python -m tests.bench

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/snakemake --lint > /dev/null

clean:
	rm -rf .venv
