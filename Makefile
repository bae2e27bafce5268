# Everything one does with polyport. Each target first installs what is missing (tools/install: at once where nothing is).
.DEFAULT_GOAL := help
.PHONY: help install demo up test check format bench guest lock clean

run := .venv/bin/python -m

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | while IFS='	' read -r name what; do printf '  make %-8s %s\n' "$$name" "$$what"; done

install: ## packages of the system and a virtual environment in .venv
	@tools/install

demo: install guest ## a cloud in a scratch directory: a guest with four NICs on one network, every claim proven (root)
	@$(run) demo

up: install guest ## a cloud that stays, with a clouds.yaml for any OpenStack client (root)
	@$(run) polyport up --clouds clouds.yaml

test: check guest ## all checks, then all tests (root: some need network namespaces and guests)
	@tools/install tcpdump
	@$(run) pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder tests

check: install ## format, lint, types, import rules
	@$(run) ruff format --check --quiet . || { echo "not formatted; 'make format' does it" >&2; exit 1; }
	@$(run) ruff check --quiet .
	@$(run) mypy polyport guest demo bench
	@.venv/bin/lint-imports

format: install ## rewrite the sources as the checks want them
	@$(run) ruff format .
	@$(run) ruff check --fix-only .

bench: install guest ## measure: requests, boots, frames (root)
	@tools/install iperf3
	@$(run) bench

guest: install ## the small guest image, in .work/guest
	@$(run) guest.build

lock: install ## write the locked versions anew from pyproject.toml
	@tools/lock

clean: ## remove everything that was made here, the virtual environment too
	rm -rf .venv .work build dist results .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
