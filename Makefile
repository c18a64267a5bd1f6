# What can be done here; `make` alone lists it. Root's virtual environment lies where the unprivileged user that the
# parts run as can read it, and neither it nor any cache of root's ends up in the clone.

PYTHON ?= /usr/bin/python3
ifeq ($(shell id -u),0)
VENV := /var/cache/netvane/venv-$(shell printf %s '$(CURDIR)' | cksum | cut -d' ' -f1)
export PYTHONDONTWRITEBYTECODE := 1
export RUFF_CACHE_DIR := $(VENV)/cache/ruff
export MYPY_CACHE_DIR := $(VENV)/cache/mypy
export HYPOTHESIS_STORAGE_DIRECTORY := $(VENV)/cache/hypothesis
export PYTEST_ADDOPTS := -o cache_dir=$(VENV)/cache/pytest
else
VENV := $(CURDIR)/.venv
NOT_ROOT := echo "Not root: the lab tests need it and are skipped; \`sudo make $@\` runs them too."
endif
RUN := $(VENV)/bin/python
SOURCES := $(shell find exporters grafana/dashboards grafana/grafana.ini grafana/provisioning loki prometheus docs/runbooks \
	netvane.example.yml pyproject.toml README.md LICENSE \
	-not -name '__pycache__' -not -name '*.pyc')
# A Python that went with a system upgrade takes its environment along.
$(shell test -x $(RUN) || rm -f $(VENV)/stamp-*)

# Debian's do not go together with those of another maker: Node.js brings its own npm, Docker its own containerd.
DOCKER_PACKAGES := $(shell command -v dockerd >/dev/null || echo tools/packages-docker.txt)
NODE_PACKAGES := $(shell command -v npm >/dev/null || echo tools/packages-node.txt)

.PHONY: help setup up run demo test test-lab test-deploy test-radio deploy check bench dashboards lock clean packages test-packages \
	bench-packages deploy-packages radio-packages test-setup

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

setup: packages $(VENV)/stamp-netvane ## install Debian packages (as root) and the virtual environment

up: setup ## run everything; NETNS=name: in that network namespace; CONFIG=file: with that netvane.yml
	@exec $(VENV)/bin/netvane up $(if $(NETNS),--netns '$(NETNS)') $(if $(CONFIG),--config.file '$(CONFIG)')

run: setup ## any command: ARGS='events --exporter latency --since 24h'
	@exec $(VENV)/bin/netvane $(ARGS)

deploy: $(VENV)/stamp-deploy ## Ansible: HOST=pi@pi.local, or HOST=localhost; INVENTORY=dir for more; ARGS=-K and the like
	@cd ansible && exec $(VENV)/bin/ansible-playbook site.yml $(ARGS) \
		$(if $(INVENTORY),-i '$(abspath $(INVENTORY))' $(if $(HOST),--limit '$(HOST)'),-i '$(or $(HOST),$(error name the machine: make deploy HOST=pi@pi.local)),') \
		$(if $(filter localhost,$(HOST)),--connection=local)

demo: test-setup ## a home in network namespaces, broken on a schedule (root)
	@exec $(RUN) -m tests.lab.demo

# The tests wait most of their time, for what happens in homes and machines of their own: two at a time.
test: test-setup ## unit, rule and short lab tests
	@$(NOT_ROOT)
	@exec $(RUN) -m pytest -m 'not long and not deploy and not radio' -n 2 --dist loadfile

test-lab: test-setup ## the long lab tests
	@$(NOT_ROOT)
	@exec $(RUN) -m pytest -m long -n 2 --dist loadfile

test-deploy: deploy-packages test-setup ## the Ansible playbooks against booted Debians (root)
	@$(NOT_ROOT)
	@exec $(RUN) -m pytest -m deploy -n 2 --dist worksteal

# The processor is emulated: a quarter of an hour for each Debian, so it is by hand. SUITE=bookworm: only that one.
test-radio: radio-packages test-setup ## the access point on the air of a virtual machine, by hand (root)
	@$(NOT_ROOT)
	@exec $(RUN) -m pytest -m radio $(if $(SUITE),-k '$(SUITE)')

check: test-setup ## ruff, mypy, yamllint, promtool, amtool
	@PATH="$(VENV)/bin:$$PATH" tools/check.sh

bench: bench-packages test-setup ## figures, as JSON
	@exec $(RUN) -m tests.bench

dashboards: test-setup ## write grafana/dashboards/*.json from grafana/build/
	@exec $(RUN) -m grafana.build

lock: ## write the lock files anew
	tools/lock.sh

clean: ## remove the virtual environment and all caches
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find exporters tests -name __pycache__ -prune -exec rm -rf {} +

packages:
	@tools/setup.sh tools/packages.txt

test-packages:
	@tools/setup.sh tools/packages.txt tools/packages-test.txt $(NODE_PACKAGES)

deploy-packages:
	@tools/setup.sh tools/packages.txt tools/packages-test.txt tools/packages-deploy.txt $(NODE_PACKAGES) $(DOCKER_PACKAGES)

radio-packages:
	@tools/setup.sh tools/packages.txt tools/packages-test.txt tools/packages-deploy.txt tools/packages-radio.txt $(NODE_PACKAGES)

bench-packages:
	@tools/setup.sh tools/packages.txt tools/packages-test.txt tools/packages-bench.txt $(NODE_PACKAGES)

test-setup: test-packages $(VENV)/stamp-test $(VENV)/stamp-node $(VENV)/stamp-netvane

$(VENV)/stamp-locked: requirements.lock tools/venv.sh | packages
	@tools/venv.sh $(PYTHON) $(VENV) requirements.lock && touch $@

$(VENV)/stamp-test: requirements-dev.lock $(VENV)/stamp-locked | test-packages
	@tools/venv.sh $(PYTHON) $(VENV) requirements-dev.lock && touch $@

$(VENV)/stamp-node: tests/logql/package.json tests/logql/package-lock.json | $(VENV)/stamp-locked
	@mkdir -p $(VENV)/node && cp $^ $(VENV)/node/
	@npm ci --prefix $(VENV)/node --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null && touch $@

# On a laptop: no Debian packages, only Ansible and what builds the wheel.
$(VENV)/stamp-deploy: requirements-deploy.lock tools/venv.sh
	@tools/venv.sh $(PYTHON) $(VENV) requirements-deploy.lock && touch $@

$(VENV)/stamp-netvane: $(SOURCES) $(VENV)/stamp-locked
	@umask 022 && $(RUN) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
		--force-reinstall . && touch $@
