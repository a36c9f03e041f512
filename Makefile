# The front door. Every target sets up what it needs; `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
ENV ?= dev
ARGS ?=
PROMPT ?= 80s pop track with bassy drums and synth
DURATION ?= 3
KEEP ?=
WORKERS ?= 2
RATE ?= 20
PLAN ?=
MODEL ?= facebook/musicgen-large
REVISION ?=
TO ?=
BASE ?= main
HEAD ?=
ALLOW ?=
LABELS ?=
REPORT ?=
BENCH ?=
FIRST ?= 0
GPU_PYTHON ?=
export MODEL REVISION TO PROMPT DURATION BASE HEAD ALLOW LABELS REPORT    # read by the shell as variables, so that no quote in them can break out

VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(CURDIR)/node_modules/.bin:$(PATH)
export PYTHONPATH := $(CURDIR):$(CURDIR)/lambda:$(CURDIR)/model_bundle/code:$(CURDIR)/local:$(CURDIR)/tools
export JSII_RUNTIME_PACKAGE_CACHE := enabled
export CDK_DISABLE_CLI_TELEMETRY := true
CDK := cdk --no-notices --no-version-reporting -c env=$(ENV) $(ARGS)

.PHONY: help local test lint format synth deploy diff destroy plan gate smoke-test mirror bench-staging bench-engine bench-gpu test-gpu soak simulate docs lock clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo '  make local PROMPT="a calm piano" DURATION=5 KEEP=1    its variables'
	@echo '  make deploy ENV=prod ARGS="-c max_capacity=4"         environment and overrides, for synth, diff, destroy too'

local: tools ## deploy the stack to an embedded AWS on this machine, make a clip, remove everything
	@python -m local_aws.walkthrough --prompt "$$PROMPT" --duration "$$DURATION" $(if $(KEEP),--keep)

test: tools ## the whole test suite, offline
	OMP_NUM_THREADS=1 pytest -n $(WORKERS) --dist loadfile --durations=10 $(ARGS)

lint: tools $(VENV)-checkov/.ready ## ruff, pyright, cdk-nag through synth, cfn-lint and checkov on the template
	ruff check .
	ruff format --check .
	pyright
	$(CDK) synth -q --output cdk.out/lint
	cfn-lint cdk.out/lint/*.template.json
	$(VENV)-checkov/bin/checkov --config-file .checkov.yaml --directory cdk.out/lint

format: tools ## mend what ruff can mend
	ruff check --fix-only .
	ruff format .

synth: tools ## synthesise the stack into cdk.out/
	$(CDK) synth -q

deploy: tools ## deploy to the AWS account of your credentials
	$(CDK) deploy

diff: tools ## what `make deploy` would change there
	$(CDK) diff

destroy: tools ## remove the stack and all that it made
	$(CDK) destroy

plan: tools ## waiting times and dollars for RATE requests an hour, from the stack's own scaling policies
	@$(CDK) synth -q --output cdk.out/plan
	@python -m local_aws.planner --rate "$(RATE)" --template cdk.out/plan/MusicGen-$(ENV).template.json $(PLAN)

gate: tools ## what a change does to stack, data, permissions and bill: BASE=main HEAD=feature ALLOW=replace
	@python -m stack_gate --base "$$BASE" $(if $(HEAD),--head "$$HEAD") --allow "$$ALLOW" --labels "$$LABELS" \
	  $(if $(REPORT),--json "$$REPORT/report.json" --markdown "$$REPORT/comment.md") $(ARGS)

smoke-test: tools ## ask the deployed stack for a clip and check it
	@python -m smoke_test --stack "MusicGen-$(ENV)" $(ARGS)

mirror: tools ## copy a commit from the Hub into S3: MODEL=facebook/musicgen-small REVISION=<commit> TO=s3://bucket/prefix
	@python -m mirror_model --model-id "$$MODEL" --revision "$$REVISION" --to "$$TO" $(ARGS)

bench-staging: tools ## staging beside the obvious ways, on loopback with TLS
	python -m benchmarks.staging $(BENCH)

bench-engine: tools ## the engine beside stock generate, on the same random weights
	python -m benchmarks.engine $(BENCH)

bench-gpu: $(if $(GPU_PYTHON),,tools) ## the engine on a GPU: roofline, stock's ways, goals; figures to benchmarks/results/
	$(or $(GPU_PYTHON),python) -m benchmarks.engine_gpu $(BENCH)

test-gpu: $(if $(GPU_PYTHON),,tools) ## on a GPU: compiled kernels beside torch, recorded steps beside steps done anew, one launch a step
	TRITON_INTERPRET=0 $(or $(GPU_PYTHON),python) -m pytest -o addopts="--import-mode=importlib --strict-markers" -m gpu \
	  tests/model_bundle/engine/test_gpu.py $(ARGS)

soak: tools ## 500 mixed requests to a real instance whose worker is killed in between
	OMP_NUM_THREADS=1 python -m soak --requests 500 --kills 12

simulate: tools ## 100,000 schedules of the staging protocol, with crashes, duplicates and delays
	python -m staging_simulation --schedules 100000 --first $(FIRST)

docs: tools ## regenerate docs/configuration.md and docs/gpu.md
	@mkdir -p .local
	@python -m infra.reference
	@python -m benchmarks.gpu.report > .local/page && mv .local/page docs/gpu.md

lock: tools ## compile requirements*.txt and package-lock.json anew from what they are made of
	uv pip compile -q --no-header --no-annotate --no-emit-index-url --no-emit-find-links requirements.in -o requirements.txt
	uv pip compile -q --no-header --no-annotate --no-emit-index-url --no-emit-find-links requirements-dev.in \
	  | grep -vE '^(nvidia-|cuda-|triton==)' > requirements-dev.txt   # a build of torch for CPUs needs none of these
	uv pip compile -q --no-header --no-annotate --no-emit-index-url --no-emit-find-links requirements-checkov.in -o requirements-checkov.txt
	uv pip compile -q --no-header --generate-hashes --python-version 3.14 --no-emit-index-url --no-emit-find-links \
	  lambda/requirements.in -o lambda/requirements.txt
	npm install --package-lock-only --omit-lockfile-registry-resolved

clean: ## delete what the targets made
	rm -rf $(VENV) $(VENV)-checkov node_modules cdk.out .local

# ---- what the targets stand on -----------------------------------------------------------------------------------------

.PHONY: tools
tools: $(VENV)/.ready node_modules/.ready

$(VENV)/.ready: requirements.txt requirements-dev.txt requirements-serving.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else f"Python 3.11 or newer is needed, {sys.executable} is {sys.version.split()[0]}: name another with PYTHON=…")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps -r requirements-serving.txt
	touch $@

# checkov wants an older boto3 than the project's: an environment of its own.
$(VENV)-checkov/.ready: requirements-checkov.txt
	$(PYTHON) -m venv $(VENV)-checkov
	$(VENV)-checkov/bin/pip install --quiet --disable-pip-version-check -r requirements-checkov.txt
	touch $@

node_modules/.ready: package-lock.json | $(VENV)/.ready
	npm ci --silent --no-fund --no-audit
	touch $@
