# One word each, the same locally as in .ci/run. Needs make and Python 3.11 or newer, nothing else.
# make test ARGS="-k flask"      make test PYTHON=/path/to/python3.12 VENV=.venv-3.12

PYTHON ?= python3
VENV ?= .venv
DEMO_VENV := .venv-demo
# Tests wait for servers and processes for a third of their time: one worker more than two processors have.
WORKERS ?= 3
REQUIREMENTS := pyproject.toml requirements/dev.txt requirements/constraints.txt
CONSTRAINTS := -c requirements/constraints.txt

# An interpreter that was asked for is the only one tried.
ifeq ($(origin PYTHON),file)
PYTHONS := $(PYTHON) python3.14 python3.13 python3.12 python3.11
else
PYTHONS := $(PYTHON)
endif

.PHONY: servers test test-collecting test-sqlalchemy20 test-lowest test-mutants check docs bench demo clean

# Tests start hundreds of processes: none compiles the library for itself, also where PYTHONDONTWRITEBYTECODE is set.
test: $(VENV)/.stamp
	$(VENV)/bin/python -m compileall -q src
	$(VENV)/bin/pytest -n $(WORKERS) --dist loadfile $(ARGS)

# The contract suite where a garbage collection, with an object that counts in it, comes whenever a lock is taken. What
# counts garbage itself is left out.
test-collecting: $(VENV)/.stamp
	PYTHONPATH=tests $(VENV)/bin/pytest -q -p collecting -n $(WORKERS) --dist loadfile tests/contract --deselect tests/contract/test_bounds.py $(ARGS)

# The hook of SQLAlchemy under the version before the one that everything else runs with, which hides it.
SQLALCHEMY20 := .venv-sqlalchemy20
test-sqlalchemy20: $(SQLALCHEMY20)/.stamp
	PYTHONPATH=$(SQLALCHEMY20) $(VENV)/bin/python -c 'import sqlalchemy as s; assert s.__version__.startswith("2.0."), s.__version__'
	PYTHONPATH=$(SQLALCHEMY20) $(VENV)/bin/pytest -q tests/integrations/test_sqlalchemy.py $(ARGS)

# What stands between the library and others under the lowest versions of them that pyproject.toml names, and psycopg's
# hook under the version between those and the one that everything else runs with. What only shows how a framework or an
# SDK was then is left out.
LOWEST := .venv-lowest
PSYCOPG32 := .venv-psycopg32
TESTS_OF_LOWEST := $(addprefix tests/integrations/test_,$(addsuffix .py,psycopg sqlalchemy django_orm auto_databases flask \
	starlette fastapi celery)) $(addprefix tests/contract/test_,$(addsuffix .py,routing correlation failures clients)) \
	$(addprefix tests/ai/test_,$(addsuffix .py,auto limits report)) tests/sinks
# Under Starlette 0.40 a router that a closure hides has its mount's template.
CLOSURES := --deselect tests/integrations/test_starlette.py::test_what_a_closure_hides
test-lowest: $(LOWEST)/.stamp $(PSYCOPG32)/.stamp
	PYTHONPATH=$(LOWEST) $(VENV)/bin/python -c 'import psycopg as p; assert p.__version__ == "3.1.8", p.__version__'
	PYTHONPATH=$(LOWEST) $(VENV)/bin/pytest -q -n $(WORKERS) --dist loadfile $(TESTS_OF_LOWEST) $(CLOSURES) $(ARGS)
	PYTHONPATH=$(PSYCOPG32) $(VENV)/bin/python -c 'import psycopg as p; assert p.__version__ == "3.2.13", p.__version__'
	PYTHONPATH=$(PSYCOPG32) $(VENV)/bin/pytest -q tests/integrations/test_psycopg.py $(ARGS)

# The mistakes that each rule which is shipped could have, and whether promtool finds them with the tests of its file.
test-mutants: $(VENV)/.stamp .prometheus-forky/.stamp
	$(VENV)/bin/pytest -q -n $(WORKERS) tests/export/test_mutants.py --all-mutants -k by_promtool $(ARGS)

$(SQLALCHEMY20)/.stamp $(LOWEST)/.stamp $(PSYCOPG32)/.stamp: .venv-%/.stamp: requirements/%.txt $(VENV)/.stamp
	rm -rf .venv-$*
	$(VENV)/bin/python -m pip install --quiet --no-deps --target .venv-$* -r $<
	@touch $@

# Programs of Debian's, each in a folder of its own. Tests find them there; what misses one leaves itself out.
# Prometheus's oldest version that is still around, and its newest.
.redis/.stamp: WANTED := trixie .redis redis-server redis-tools
.postgresql/.stamp: WANTED := trixie .postgresql postgresql-17
.prometheus-bookworm/.stamp: WANTED := bookworm .prometheus-bookworm prometheus
.prometheus-forky/.stamp: WANTED := forky .prometheus-forky prometheus promtool prometheus-alertmanager
.chromium/.stamp: WANTED := trixie .chromium chromium-headless-shell fonts-dejavu-core
OF_DEBIAN := $(addsuffix /.stamp,.redis .postgresql .prometheus-bookworm .prometheus-forky .chromium)
servers: $(filter-out .chromium/.stamp,$(OF_DEBIAN))
$(OF_DEBIAN): scripts/debian_packages.sh | $(VENV)/.stamp
	rm -rf $(@D)
	VENV=$(VENV) scripts/debian_packages.sh $(WANTED)
	@touch $@

check: $(VENV)/.stamp
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy --strict src tests/typing

docs: $(VENV)/.stamp
	$(VENV)/bin/python scripts/reference.py --check

bench: $(VENV)/.stamp
	$(VENV)/bin/python -m bench $(ARGS)

demo: $(DEMO_VENV)/.stamp
	$(DEMO_VENV)/bin/python examples/demo.py $(ARGS)

clean:
	rm -rf .venv .venv-* .python-* .redis .postgresql .prometheus-* .chromium build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find bench docs examples scripts src tests -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

$(VENV)/.stamp: $(REQUIREMENTS)
	$(call new_venv,$(VENV))
	$(call install,$(VENV),-r requirements/dev.txt)

$(DEMO_VENV)/.stamp: $(REQUIREMENTS)
	$(call new_venv,$(DEMO_VENV))
	$(call install,$(DEMO_VENV),hatchling fastapi uvicorn httpx anthropic genai-prices)

# Try to run each interpreter: a pyenv shim may be on the path and run nothing.
define new_venv
@for python in $(PYTHONS); do \
	if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		echo "$(1): made with $$("$$python" --version)"; \
		exec "$$python" -m venv --clear $(1); \
	fi; \
done; \
echo "obskit needs Python 3.11 or newer; tried and found none in: $(PYTHONS)." >&2; \
echo "Name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; \
exit 1
endef

# The build backend comes from the pins too, so the library is installed without build isolation.
define install
$(1)/bin/python -m pip install --quiet $(CONSTRAINTS) $(2)
$(1)/bin/python -m pip install --quiet $(CONSTRAINTS) --no-build-isolation --editable .
@touch $(1)/.stamp
endef
