# Each target makes its environment first, once: .venv, .venv-bench for `bench`, or .venv-site for `site`.
PYTHON ?= python3
BIN := $(CURDIR)/.venv/bin
RUN := PATH="$(BIN):$$PATH"
# Two processes, file after file: the tests of one share what took long to make.
PYTEST := python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

.PHONY: help repro test test-all lint format verify compare bench claims tables digits check site clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{ printf "%-13s %s\n", $$1, $$2 }'

repro: .venv/ready  ## run what is not up to date, then print the table of results
	@$(RUN) python -m tools.repro

test: .venv/ready-tests  ## mathematics, units, and one small run of the pipeline
	$(RUN) $(PYTEST) -m "not slow" --ignore tests/published

test-all: .venv/ready-tests  ## all tests: also DVC's own ways, faults, compilers, a browser, the studies, and the published numbers
	$(RUN) $(PYTEST)

lint: .venv/ready-tests  ## style, types, and who imports whom
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) lint-imports --no-cache --no-logo

format: .venv/ready-tests  ## put right what `lint` finds, as far as that can be done without you
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

verify: .venv/ready  ## run the committed pipeline as three machines, compare the results [SAME=yes: to the byte]
	@$(RUN) python -m tools.verify $(if $(SAME),--same)

compare: .venv/ready  ## what differs between two branches: make compare A=main B=deeper [FORMAT=md]
	@$(RUN) python -m tools.compare $(A) $(B) --format $(or $(FORMAT),html)

bench: .venv-bench/ready  ## time this library beside five others (up to an hour; leave the machine alone meanwhile)
	PATH="$(CURDIR)/.venv-bench/bin:$$PATH" dvc repro benchmarks/dvc.yaml

# A study's cells run where FLOWS_WORKERS says; without it, in a process a core.
claims tables digits: .venv/ready-studies
	@$(RUN) FLOWS_WORKERS="$${FLOWS_WORKERS-$$(getconf _NPROCESSORS_ONLN)}" dvc repro studies/$@/dvc.yaml

claims:  ## test what is said of the flows, in the plane and on images (over an hour on two cores)
tables:  ## the flows beside eight other densities on nine tables (one to two and a half hours on two cores)
digits:  ## the flows over images beside other densities, a VAE and a GAN, on 8x8 digits (over an hour on two cores)

check: .venv/ready-studies  ## run the quickest cells of each study anew, and compare them with the committed rows
	@$(RUN) sh -c 'for study in claims tables digits; do python -m studies check $$study || exit 1; done'

# Material prints a notice about other programs, unless the variable is set.
site: .venv-site/ready  ## build the documentation as web pages in build/site; a broken link or an undocumented argument is an error
	NO_MKDOCS_2_WARNING=1 .venv-site/bin/python -m mkdocs build

clean:  ## remove what the pipeline and the tests made and Git does not hold
	rm -rf .venv .venv-bench .venv-site build *.egg-info .pytest_cache .mypy_cache .ruff_cache dvc_plots
	git clean -d -f -q -X data/raw.csv data/target.json data/prepared data/plots models

.venv/ready: requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

# The other libraries bring much with them (JAX among it), so they have an environment of their own.
.venv-bench/ready: benchmarks/requirements.txt requirements.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	touch $@

# The site is built from the text of `flows`, which is not imported, so torch is not needed.
.venv-site/ready: requirements-site.txt
	$(PYTHON) -m venv .venv-site
	.venv-site/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-site.txt
	touch $@

.venv/ready-studies: studies/requirements.txt .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r studies/requirements.txt
	touch $@

.venv/ready-tests: requirements-test.txt .venv/ready-studies
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-test.txt
	touch $@
