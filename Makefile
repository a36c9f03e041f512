# Entry points. Every target installs what it needs; `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
ENV ?= dev
ARGS ?=
PROMPT ?= 80s pop track in D minor with fast drums and bassy synth
DURATION ?= 3
KEEP ?=
PIECE ?=
MELODY ?=
WORKERS ?= 4
RATE ?= 20
PLAN ?=
MODEL ?= facebook/musicgen-large
REVISION ?=
FOLDER ?=
TO ?=
BASE ?= main
HEAD ?=
ALLOW ?=
REPORT ?=
BENCH ?=
NOTEBOOK ?=
REPOSITORY ?=
STATE ?=
FIRST ?= 0
EXTRACTORS ?=
GPU_PYTHON ?=
export MODEL REVISION FOLDER TO PROMPT DURATION BASE HEAD ALLOW REPORT NOTEBOOK REPOSITORY STATE    # shell variables: quotes in a value cannot break out

VENV := .venv
CLIENTS := sagemaker-2 sagemaker-3 awscli-1
# Gigabytes: instances use the torch of this machine, and nothing imports audiocraft.
SAMPLE_PLACEHOLDERS := torch==2.1.0 audiocraft==1.3.0
export PATH := $(CURDIR)/$(VENV)/bin:$(CURDIR)/node_modules/.bin:$(PATH)
export PYTHONPATH := $(CURDIR):$(CURDIR)/lambda:$(CURDIR)/model_bundle/code:$(CURDIR)/local:$(CURDIR)/tools
export JSII_RUNTIME_PACKAGE_CACHE := enabled
# Container images often set it; then each of the tests' many processes compiles what it imports, about 4 CPU seconds.
unexport PYTHONDONTWRITEBYTECODE
export CDK_DISABLE_CLI_TELEMETRY := true
CDK := cdk --no-notices --no-version-reporting -c env=$(ENV) $(ARGS)

.PHONY: help local demo test lint format synth preflight deploy diff destroy plan gate check-policies smoke-test mirror bench-staging bench-engine bench-gpu test-gpu test-tiles conformance soak soak-prompts fuzz simulate test-extract test-clients test-ui screenshot sample ci-roles ci-setup docs lock clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo '  make local PROMPT="a calm piano" DURATION=5 KEEP=1    variables; PIECE=1: also five minutes in ten sections'
	@echo '  make local MELODY=1                                   the toy melody model, whose clips follow a hummed melody'
	@echo '  make deploy ENV=prod ARGS="-c max_capacity=4"         environment and overrides; also for preflight, synth, diff, destroy'

local: tools-local ## deploy to the embedded AWS on this machine, generate a clip, remove everything
	@python -m local_aws.walkthrough --prompt "$$PROMPT" --duration "$$DURATION" $(if $(KEEP),--keep) $(if $(PIECE),--piece) $(if $(MELODY),--melody) $(ARGS)

demo: tools-local $(VENV)-ui/.ready ## deploy to the embedded AWS on this machine and open the client's page; Ctrl-C removes everything
	@python -m local_aws.walkthrough --page "$(VENV)-ui/bin/python" $(ARGS)

# A worker that dies ends the run: pytest-xdist 3.8 replaces it, but then waits for ever for files that are done.
test: tools ## the whole test suite, offline
	OMP_NUM_THREADS=1 pytest -n $(WORKERS) --max-worker-restart=0 --dist loadfile --no-loadscope-reorder --durations=10 $(ARGS)

lint: tools $(VENV)-checkov/.ready ## ruff, pyright, cdk-nag through synth, cfn-lint and checkov on the template
	ruff check .
	ruff format --check .
	pyright
	$(CDK) synth -q --output cdk.out/lint
	cfn-lint cdk.out/lint/*.template.json
	$(VENV)-checkov/bin/checkov --config-file .checkov.yaml --directory cdk.out/lint

format: tools ## apply ruff's automatic fixes
	ruff check --fix-only .
	ruff format .

synth: tools-local ## synthesise the stack to cdk.out/
	$(CDK) synth -q

preflight: tools-local ## check quota, bootstrap, weights, network and price before `make deploy`; changes nothing
	@python -m preflight -c env=$(ENV) $(ARGS)

deploy: tools-local ## deploy to your AWS account
	$(CDK) deploy

diff: tools-local ## show what `make deploy` would change
	$(CDK) diff

destroy: tools-local ## remove the stack and everything it created; prod keeps inputs, outputs and logs
	$(CDK) destroy

plan: tools-local ## estimate waiting times and cost for RATE requests an hour, from the stack's scaling policies
	@$(CDK) synth -q --output cdk.out/plan
	@python -m local_aws.planner --rate "$(RATE)" --template cdk.out/plan/MusicGen-$(ENV).template.json $(PLAN)

# make exits with 2 whatever fails: scripts call the module, or read `exit_code` in the report.
gate: tools ## judge a change to stack, data, permissions and bill: BASE=main HEAD=feature ALLOW=replace
	@PYTHONPATH="$(CURDIR)/tools" python -P -s -m stack_gate --base "$$BASE" $(if $(HEAD),--head "$$HEAD") --allow "$$ALLOW" \
	  $(if $(REPORT),--json "$$REPORT/report.json" --sarif "$$REPORT/report.sarif" --markdown "$$REPORT/comment.md") $(ARGS)

check-policies: tools ## compare the gate with trying every request, on a million random pairs of policies
	@OMP_NUM_THREADS=1 python -m tests.stack_gate.iam.policy_oracle $(ARGS)

smoke-test: tools-local ## generate a clip with the deployed stack and check it
	@python -m smoke_test --stack "MusicGen-$(ENV)" $(ARGS)

mirror: tools-local ## copy a commit of the Hub, or FOLDER=<path>, into S3: MODEL=<owner>/<name> REVISION=<commit> TO=s3://bucket/prefix
	@python -m mirror_model --model-id "$$MODEL" $(if $(FOLDER),--folder "$$FOLDER",--revision "$$REVISION") --to "$$TO" $(ARGS)

bench-staging: tools ## benchmark staging against simpler implementations, on loopback with TLS
	python -m benchmarks.staging $(BENCH)

bench-engine: tools ## benchmark the engine against stock generate, on the same random weights
	python -m benchmarks.engine_vs_stock $(BENCH)

bench-gpu: $(if $(GPU_PYTHON),,tools) ## benchmark the engine on a GPU against the roofline and stock generate; writes benchmarks/results/
	$(or $(GPU_PYTHON),python) -m benchmarks.engine_gpu $(BENCH)

test-gpu: $(if $(GPU_PYTHON),,tools) ## test compiled kernels and CUDA graphs against torch on a GPU
	TRITON_INTERPRET=0 $(or $(GPU_PYTHON),python) -m pytest -o addopts="--import-mode=importlib --strict-markers" -m gpu \
	  tests/model_bundle/engine/test_gpu.py $(ARGS)

test-tiles: tools ## compile every tile that tuning may choose for A100, A10G, L4, L40S and H100, without a GPU
	EVERY_TILE=1 pytest -p no:randomly -o timeout=3600 tests/model_bundle/engine/kernels/test_compilation.py $(ARGS)

conformance: tools ## compare the embedded AWS and plain moto with AWS's documented behaviours; ARGS=--account asks a real account
	OMP_NUM_THREADS=1 python -m conformance $(ARGS)

soak: tools ## send 500 mixed requests to a real instance while its worker is killed
	OMP_NUM_THREADS=1 python -m soak --requests 500 --kills 12

soak-prompts: tools ## send 200 prompts through the client and the embedded AWS while the endpoint's worker is killed
	OMP_NUM_THREADS=1 PYTHONPATH="$(PYTHONPATH):$(CURDIR)/client" python -m soak.prompts --prompts 200 --kills 2 $(ARGS)

fuzz: tools ## send 30,000 generated requests to the container's HTTP server: ARGS="--requests 100000 --seed 2"
	OMP_NUM_THREADS=1 python -m http_fuzz $(ARGS)

simulate: tools ## run 100,000 schedules of the staging protocol with crashes, duplicates and delays; FIRST=seed
	python -m staging_simulation --schedules 100000 --first $(FIRST)

test-extract: tools ## extract a staged tarball with every tool that is installed; EXTRACTORS=all fails for a missing one
	EXTRACTORS="$(EXTRACTORS)" pytest -rs tests/stage_model/archive/test_extraction.py

test-clients: tools $(CLIENTS:%=.venv-clients/%/.ready) .venv-clients/sample-wheels/.ready ## test the embedded AWS with real clients: sagemaker 2 and 3, the AWS CLI 1
	TEST_CLIENTS=1 pytest -p no:randomly --durations=5 tests/clients $(ARGS)

test-ui: tools $(VENV)-ui/.ready chromium ## test the page of `musicgen ui` in headless Chromium
	TEST_UI=1 pytest -p no:randomly --durations=3 tests/ui $(ARGS)

screenshot: $(VENV)-ui/.ready chromium ## make docs/page.png, the README's picture of the page
	PYTHONPATH="$(CURDIR):$(CURDIR)/client" $(VENV)-ui/bin/python -m tests.ui.screenshot docs/page.png $(ARGS)

sample: tools .venv-clients/sagemaker-2/.ready $(if $(STATE),,.venv-clients/sample-wheels/.ready) ## run a notebook of the published AWS sample: NOTEBOOK=path; STATE=.local/run-… (of make local KEEP=1)
	python -m tests.clients.run_notebook "$$NOTEBOOK" --python .venv-clients/sagemaker-2/bin/python \
	  $(if $(STATE),--state "$$STATE" --stack "MusicGen-$(ENV)",--wheels .venv-clients/sample-wheels $(SAMPLE_PLACEHOLDERS:%=--placeholder %)) $(ARGS)

ci-roles: tools-local ## deploy the roles that CI assumes to your AWS account: REPOSITORY=owner/name
	@mkdir -p .local
	cdk --no-notices --no-version-reporting --app "python -m infra.ci" deploy --outputs-file .local/ci-roles.json \
	  -c "ci:repository=$$REPOSITORY" $(ARGS)

ci-setup: tools ## list what a GitHub repository lacks for the workflows: REPOSITORY=owner/name; ARGS=--apply sets it up
	@python -m repository_setup --repository "$$REPOSITORY" $(ARGS)

docs: tools ## regenerate the tables of README.md, docs/{configuration,capacity,engine,planner}.md and local/README.md
	@python -m infra.reference
	@python -m local_aws.emulator.reference
	@python -m benchmarks.gpu.report
	@$(CDK) synth -q --output cdk.out/docs
	@python -m local_aws.planner.costs cdk.out/docs/MusicGen-dev.template.json

lock: tools ## recompile requirements*.txt and package-lock.json from their sources
	uv pip compile -q --no-header --no-annotate --no-emit-index-url --no-emit-find-links requirements.in -o requirements.txt
	uv pip compile -q --no-header --no-annotate --no-emit-index-url --no-emit-find-links requirements-dev.in \
	  | grep -vE '^(nvidia-|cuda-|triton==)' > requirements-dev.txt   # torch's CPU build needs none of these
	uv pip compile -q --no-header --no-annotate --no-emit-index-url --no-emit-find-links requirements-local.in \
	  -c requirements-dev.txt | grep -vE '^(nvidia-|cuda-|triton==)' > requirements-local.txt
	uv pip compile -q --no-header --no-annotate --no-emit-index-url --no-emit-find-links requirements-checkov.in -o requirements-checkov.txt
	uv pip compile -q --no-header --no-annotate --no-emit-index-url --no-emit-find-links requirements-ui.in -o requirements-ui.txt
	for client in $(CLIENTS); do uv pip compile -q --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	  requirements-clients-$$client.in | grep -vE '^(nvidia-|cuda-|triton==)' > requirements-clients-$$client.txt; done
	uv pip compile -q --no-header --generate-hashes --python-version 3.14 --no-emit-index-url --no-emit-find-links \
	  lambda/requirements.in -o lambda/requirements.txt
	npm install --package-lock-only --omit-lockfile-registry-resolved

clean: ## delete everything the targets created
	rm -rf $(VENV) $(VENV)-checkov $(VENV)-clients $(VENV)-ui node_modules cdk.out .local

# ---- installation -----------------------------------------------------------------------------------------

.PHONY: tools tools-local
tools: $(VENV)/.ready node_modules/.ready ## install what tests, lint and the notebook need
tools-local: $(VENV)/.ready-local node_modules/.ready-local

$(VENV)/.ready-local: requirements-local.txt requirements-serving.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11, 4) else f"Python 3.11.4 or newer is needed, {sys.executable} is {sys.version.split()[0]}: name another with PYTHON=…")'
	@$(PYTHON) tools/install_packages.py $(VENV) local
	@touch $@

$(VENV)/.ready: $(VENV)/.ready-local requirements-dev.txt requirements-triton.txt
	@$(PYTHON) tools/install_packages.py $(VENV) test
	@touch $@

# checkov needs an older boto3 than the project, so it has its own virtual environment.
$(VENV)-checkov/.ready: requirements-checkov.txt
	$(PYTHON) -m venv $(VENV)-checkov
	$(VENV)-checkov/bin/pip install --quiet --disable-pip-version-check -r requirements-checkov.txt
	touch $@

# What the client's page needs: Gradio, in versions of its own.
$(VENV)-ui/.ready: requirements-ui.txt
	@echo "installing the client's page into $(VENV)-ui: about 150 MB to download, 1 minute"
	@$(PYTHON) -m venv $(VENV)-ui
	@$(VENV)-ui/bin/pip install --quiet --disable-pip-version-check --no-compile -r requirements-ui.txt
	@touch $@

# Clients that conflict with the project's boto3 and with each other.
.venv-clients/%/.ready: requirements-clients-%.txt
	$(PYTHON) -m venv .venv-clients/$*
	.venv-clients/$*/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

.venv-clients/sample-wheels/.ready: requirements-sample-bundle.txt
	rm -rf $(@D)
	$(PYTHON) -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir $(@D) -r $<
	touch $@

.PHONY: chromium
chromium:
	@for program in chromium chromedriver; do command -v $$program > /dev/null || \
	  { echo "$$program must be on PATH, e.g. by: apt-get install chromium chromium-driver" >&2; exit 1; }; done

node_modules/.ready-local: package-lock.json | $(VENV)/.ready-local
	@echo "installing the CDK CLI into node_modules (npm, about 80 MB)"
	@npm ci --omit=dev --silent --no-fund --no-audit
	@touch $@

node_modules/.ready: package-lock.json | $(VENV)/.ready-local
	@echo "installing Node tools into node_modules (npm, about 110 MB)"
	@npm ci --silent --no-fund --no-audit
	@touch node_modules/.ready-local $@
