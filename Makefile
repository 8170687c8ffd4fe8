# Every command of the project. Each target sets up what it needs in .venv; a fresh machine needs
# Python 3.11 or newer, a package index and GNU make.
#
#   make video   a first MP4, made with the tiny checkpoint       make check   lint, format, types
#   make test    every test that needs no GPU                     make gpu     the tests that do
#   make golden  rewrite the golden plans                         make sizes   what is getting long
#   make lock    resolve pyproject.toml into the locks            make setup   only install
#   make bench   a benchmark, SCENARIO=fast, ARGS="--runs 5"      make image   the image's steps, proved
#   make tiny-eval   what the tiny checkpoint can do, measured on CLIPS=200 prompts, SHOTS=50 a camera

PYTHON ?= $(firstword $(foreach name,python$(shell cat .python-version) python3.12 python3.13 \
	python3,$(shell $(name) -c 'import sys; print(sys.executable)' 2>/dev/null)))
# Where the packages go. `make gpu VENV=` runs in the Python that is on the path, installing nothing.
VENV ?= .venv
# cpu or default: which build of torch. Most machines without an NVIDIA driver could not use what
# the package index gives Linux by default, several GB of CUDA.
TORCH ?= $(if $(filter Linux,$(shell uname -s)),$(if $(shell command -v nvidia-smi 2>/dev/null),default,cpu),default)
# Asked for the CPU build only when no configured index or folder has one.
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu

ifeq ($(VENV),)
PY := python3
LTX2 := ltx2
READY :=
else
PY := $(VENV)/bin/python
LTX2 := $(VENV)/bin/ltx2
READY := $(VENV)/ready
TRITON := $(if $(filter Linux,$(shell uname -s)),$(VENV)/triton)
endif

# The driver's device or program; empty on a machine without an NVIDIA GPU.
GPU := $(wildcard /dev/nvidia0)$(shell command -v nvidia-smi 2>/dev/null)
TORCH_VERSION := $(shell sed -n 's/^torch==//p' requirements.lock)
VIDEO ?= out.mp4
SCENARIO ?= fast
CLIPS ?= 200
SHOTS ?= 50
PROMPT ?= a large red square moving left on a gray checked ground

.PHONY: setup video test check gpu golden sizes lock bench image tiny-eval

setup: $(READY)

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo 'no Python found: install Python 3.11 or newer, or make PYTHON=/path/to/it'; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo '$(PYTHON) is no Python of 3.11 or newer: make PYTHON=/path/to/one'; exit 1; }
	@"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); \
		echo '$(PYTHON) has no venv: on Debian and Ubuntu, apt-get install python3-venv'; exit 1; }

$(VENV)/ready: requirements.lock pyproject.toml | $(VENV)/bin/python
ifeq ($(TORCH),cpu)
	@$(PY) -m pip install --quiet --no-deps "torch==$(TORCH_VERSION)+cpu" 2>$(VENV)/pip.log || \
		$(PY) -m pip install --quiet --no-deps "torch==$(TORCH_VERSION)+cpu" --index-url $(TORCH_CPU_INDEX) || \
		{ cat $(VENV)/pip.log; \
		echo 'no CPU build of torch $(TORCH_VERSION) found: make TORCH=default takes the one of the package index'; exit 1; }
endif
	$(PY) -m pip install --quiet -r requirements.lock
	$(PY) -m pip install --quiet --no-deps -e .
	@touch $@

# Triton interprets the kernels of a GPU in the tests. It is the one of torch's CUDA build; a first
# video needs none of its 200 MB.
$(VENV)/triton: requirements-cuda.lock $(VENV)/ready
	$(PY) -m pip install --quiet --no-deps "$$(sed -n 's/^\(triton==[^;]*\).*/\1/p' $<)"
	@touch $@

video: $(READY)
	$(LTX2) generate "$(PROMPT)" --checkpoint tiny --seed 7 -o $(VIDEO)

# One thread a process, and two processes more than there are cores: many tests wait for servers. Who
# is done takes the next file, whole: its tests share servers and models. tests/conftest.py has the
# longest files come first.
test: $(READY) $(TRITON)
	OMP_NUM_THREADS=1 $(PY) -m pytest -n $$(($$($(PY) -c 'import os; print(os.cpu_count())') + 2)) --dist loadfile --no-loadscope-reorder -m "not gpu"

gpu: $(READY)
	$(PY) -m pytest -m gpu

golden: $(READY)
	$(PY) -m tests.golden.write

check: $(READY)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pyright --pythonpath $(PY)

# SCENARIO=--help lists them; ARGS are its own, as ARGS="--weights random --runs 5".
# Without a GPU one thread: on a machine that does other work, more would be slower and vary more.
# With one, all cores: the baselines convert their frames on them, and one thread would flatter ours.
bench: $(READY)
	$(if $(GPU),,OMP_NUM_THREADS=1 )$(PY) -m benchmarks.run $(SCENARIO) $(ARGS)

# Every step of the Dockerfile in a clean root folder, without Docker. Needs Linux and root.
image: $(READY)
	OMP_NUM_THREADS=1 $(PY) -m scripts.prove_image slim baked-fast baked-pro baked-all

# Every measure beside a control that must fail, kept beside the weights; hours for the usual numbers
# on two cores. GROUP=cameras is one group of them.
tiny-eval: $(READY)
	OMP_NUM_THREADS=1 $(PY) -m tiny.evaluate --clips $(CLIPS) --shots $(SHOTS) $(if $(GROUP),--only $(GROUP))

sizes: $(READY)
	@$(PY) scripts/sizes.py

lock: | $(VENV)/bin/python
	$(PY) scripts/lock.py
