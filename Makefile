# Each target first creates its environment, if it is missing: .venv, .venv-bench for `bench`, or
# .venv-site for `site`.
PYTHON ?= python3
TOO_OLD = 'this needs Python 3.11 or newer, and $(PYTHON) is %d.%d; name another one: make PYTHON=python3.13'
NEWER := $(PYTHON) -c "import sys; v = sys.version_info[:2]; sys.exit(v < (3, 11) and $(TOO_OLD) % v)"
BIN := $(CURDIR)/.venv/bin
RUN := PATH="$(BIN):$$PATH"
# Two processes, which take whole files: the tests of a file share expensive fixtures.
PYTEST := python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

.PHONY: help repro test test-all lint format verify compare bench claims tables target digits alarms few_rows check site notebooks clean

help:  ## this list
	@sed -n 's/^\([a-z_-]*\):.*## \(.*\)/  \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{ printf "%-13s %s\n", $$1, $$2 }'

# Make sends the signal of a stop to the process that it started, so Python replaces the shell.
repro: .venv/ready  ## run the stages that are not up to date, then print the table of results
	@$(RUN) exec python -m tools.repro

test: .venv/ready-tests  ## mathematics, units, and one small run of the pipeline
	$(RUN) $(PYTEST) -m "not slow" --ignore tests/published

test-all: .venv/ready-tests  ## all tests: also DVC itself, faults, compilers, the studies, and the published numbers
	$(RUN) $(PYTEST)

lint: .venv/ready-tests  ## check style, types, and imports between packages
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) lint-imports --no-cache --no-logo

format: .venv/ready-tests  ## format the code, and fix what `ruff` can fix automatically
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

verify: .venv/ready  ## run the committed pipeline with the settings of three machines, and compare the results [SAME=yes: to the byte; MACHINES=2: only the first two]
	@$(RUN) python -m tools.verify $(if $(SAME),--same) $(if $(MACHINES),--machines $(MACHINES))

compare: .venv/ready  ## compare the results of two branches by rank tests: make compare A=main B=deeper
	@$(RUN) python -m tools.compare $(A) $(B)

bench: .venv-bench/ready  ## time this library and five others (over an hour; run nothing else meanwhile)
	PATH="$(CURDIR)/.venv-bench/bin:$$PATH" dvc repro --force benchmarks/dvc.yaml

# FLOWS_WORKERS names the workers of a study; the default is one process per core.
claims tables target digits alarms few_rows: .venv/ready-studies
	@$(RUN) FLOWS_WORKERS="$${FLOWS_WORKERS-$$(getconf _NPROCESSORS_ONLN)}" dvc repro studies/$@/dvc.yaml

claims:  ## study: test claims about flows, in the plane and on images (takes hours)
tables:  ## study: compare densities of real tables (takes hours)
target:  ## study: compare conditional densities of one column (takes hours)
digits:  ## study: compare flows of images with other densities, a VAE and a GAN on 8x8 digits (takes hours)
alarms:  ## study: measure the false alarms and the power of checks of fits (takes an hour)
few_rows:  ## study: measure how often intervals of answers hold the truth (takes an hour)

check: .venv/ready-studies  ## repeat the quickest runs of each study, and compare them with the committed results
	@$(RUN) sh -c 'for study in claims tables target digits alarms few_rows; do python -m studies check $$study || exit 1; done'

# Material prints a notice about other programs, unless the variable is set.
site: .venv-site/ready notebooks  ## build the documentation as web pages in build/site; a broken link or an undocumented argument is an error
	NO_MKDOCS_2_WARNING=1 .venv-site/bin/python -m mkdocs build

notebooks: build/notebooks/table.ipynb build/notebooks/plane.ipynb  ## run the notebooks of the documentation into build/notebooks

build/notebooks/%.ipynb: docs/notebooks/%.py $(shell find flows -name '*.py' 2> /dev/null) .venv/ready-tests
	@mkdir -p $(@D)
	cd $(@D) && PATH="$(CURDIR)/.venv/bin:$$PATH" MPLBACKEND= jupytext --quiet --set-kernel python3 --to ipynb --execute --output $(@F) $(CURDIR)/$<

clean:  ## remove files that the pipeline and the tests wrote, and that Git does not track
	rm -rf .venv .venv-bench .venv-site build *.egg-info .pytest_cache .mypy_cache .ruff_cache dvc_plots
	git clean -d -f -q -X data/raw.csv data/target.json data/prepared data/plots models

# `flows` is installed as a link to this folder, so the command runs in any folder.
.venv/ready: requirements.txt
	@$(NEWER)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

# The other libraries have many dependencies, such as JAX, so they have a separate environment.
.venv-bench/ready: benchmarks/requirements.txt requirements.txt
	@$(NEWER)
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	touch $@

# The site is built from the text of `flows`: only its options are imported, and torch is not needed.
.venv-site/ready: requirements-site.txt
	@$(NEWER)
	$(PYTHON) -m venv .venv-site
	.venv-site/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-site.txt
	touch $@

.venv/ready-studies: studies/requirements.txt studies/requirements-no-deps.txt .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r studies/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r studies/requirements-no-deps.txt
	touch $@

.venv/ready-tests: requirements-test.txt .venv/ready-studies
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-test.txt
	touch $@
