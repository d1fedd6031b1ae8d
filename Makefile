# The machine's Python. It only creates .venv; all other commands run there.
PYTHON ?= python3
BOOTSTRAP := $(PYTHON) bootstrap.py

.DEFAULT_GOAL := help
.PHONY: help run test cluster-check traces-check network-check operations-check fuzz large check bench bench-collab bench-state chaos drill docs dashboards tools charts manifests charts-run images images-check release publish release-check lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Start all services in the foreground (API_PORT, SVGX_HOME); Ctrl-C stops them, data is kept
	@exec $(BOOTSTRAP) run

# The number of processes that run test files side by side: two more than the cores of a small machine, because many
# tests wait.
JOBS ?= 4

# `make check` runs the house rules.
test: tools ## Run all tests but the house rules (ARGS="-k name" selects some; JOBS=0 runs them in one process)
	@exec $(BOOTSTRAP) tests pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder --ignore tests/unit/house_rules $(ARGS)

cluster-check: tools ## Install the charts on a real API server, built with Go (the first time takes long)
	@$(BOOTSTRAP) exec python -m tests.deploy.cluster.programs
	@exec $(BOOTSTRAP) exec pytest --timeout 600 tests/deploy/cluster $(ARGS)

traces-check: ## Run the collector's configuration in Jaeger, built with Go, and find traces there (the first time takes long)
	@$(BOOTSTRAP) exec python -m tests.deploy.go_program traces
	@exec $(BOOTSTRAP) tests pytest -s -q tests/deploy/traces $(ARGS)

network-check: tools ## Test the network policies with kube-router, built with Go, and network namespaces (root; the first time takes long)
	@$(BOOTSTRAP) exec python -m tests.deploy.cluster.programs
	@$(BOOTSTRAP) exec python -m tests.deploy.go_program network
	@exec unshare --net sh -c 'ip link set lo up && exec "$$@"' sh $(BOOTSTRAP) exec pytest -s tests/deploy/network $(ARGS)

operations-check: tools ## Execute the commands of docs/operations.md (those for a cluster need Go)
	@$(BOOTSTRAP) exec python -m tests.deploy.cluster.programs
	@exec $(BOOTSTRAP) tests pytest -s -q --timeout 600 tests/deploy/operations tests/deploy/cluster/test_operations.py $(ARGS)

fuzz: ## Send invalid input to the gateway, and run random tests with all seeds, for about half an hour
	@SVGX_THOROUGH=1 SVGX_FUZZ_EXAMPLES=150 SVGX_FUZZ_PHASES=examples,coverage,fuzzing,stateful SVGX_FUZZ_FRAMES=100000 exec $(BOOTSTRAP) tests pytest -s -q \
		tests/e2e/openapi/test_openapi_fuzz.py tests/e2e/realtime/test_frame_fuzz.py \
		tests/integration/state/test_replicas.py tests/integration/state/test_random_canvases.py

large: ## Test a canvas of 10 MB, and rolling updates under 200 editors, for about four minutes
	@SVGX_LARGE=1 exec $(BOOTSTRAP) tests pytest -s -q \
		tests/e2e/documents/test_large_canvas.py tests/e2e/failures/test_rolling_update.py

# CHAOS_SEED repeats a run. CHAOS_EDITORS and CHAOS_SECONDS are the size of a live drill.
CHAOS = $(foreach name,SEED EDITORS SECONDS,$(if $(CHAOS_$(name)),SVGX_CHAOS_$(name)=$(CHAOS_$(name))))

chaos: ## Kill servers at random: CHAOS_ROUNDS backups, restores and compactions (20), CHAOS_SEEDS live drills (3)
	@SVGX_CHAOS_ROUNDS=$(or $(CHAOS_ROUNDS),20) SVGX_CHAOS_SEEDS=$(or $(CHAOS_SEEDS),3) $(CHAOS) \
		exec $(BOOTSTRAP) tests pytest -s -q --timeout 1200 tests/chaos $(ARGS)

drill: ## Destroy a system with DRILL_CANVASES canvases (200), restore it, compare all, and print RPO and RTO
	@SVGX_DRILL_CANVASES=$(or $(DRILL_CANVASES),200) exec $(BOOTSTRAP) tests pytest -s -q \
		tests/chaos/test_disaster_drill.py $(ARGS)

check: ## Check format, lint, types, import rules and house rules
	@$(BOOTSTRAP) exec ruff format --check .
	@$(BOOTSTRAP) exec ruff check .
	@$(BOOTSTRAP) exec pytest -q tests/unit/house_rules
	@$(BOOTSTRAP) exec lint-imports
	@$(BOOTSTRAP) exec mypy

bench: ## Measure the cost of the gateway over a bare handler
	@$(BOOTSTRAP) exec python -m bench.http

bench-collab: ## Measure live editing on the stack and on other Yjs servers (SCENARIO="name ..." selects, QUICK=1 is short)
	@exec $(BOOTSTRAP) peers python -m bench.collab $(if $(QUICK),--quick) $(SCENARIO)

bench-state: ## Measure the journal, snapshots and backups of the state service, and store the tables (ARGS=appends measures one part)
	@$(BOOTSTRAP) exec python -m bench.state $(ARGS)

docs: ## Rebuild docs/asyncapi.yaml from the contract, and docs/metrics.md from the services' metrics
	@$(BOOTSTRAP) exec python -m svgx_common.messaging.asyncapi docs/asyncapi.yaml
	@$(BOOTSTRAP) exec python -m deploy.monitoring.page

dashboards: ## Rebuild the dashboards of the charts
	@$(BOOTSTRAP) exec python -m deploy.monitoring.dashboards

tools: ## Install Helm and kubectl into .tools
	@$(BOOTSTRAP) exec python -m deploy.build.tools

charts: tools dashboards ## Rebuild schemas, READMEs, goldens, k8s/ and hashes in docker-compose.yml, and package the charts into dist/
	@$(BOOTSTRAP) exec python -m deploy.build.charts

manifests: charts ## Rebuild k8s/, for installations without Helm (the same as `make charts`)

charts-run: tools ## Run the charts as local processes, and replace their pods while two clients draw
	@SVGX_CHARTS_RUN=1 exec $(BOOTSTRAP) tests pytest -s -q tests/deploy/test_chart_runner.py $(ARGS)

images: ## Build the images with docker, podman or buildah (BASE, TAG)
	@$(BOOTSTRAP) exec python -m deploy.build.images $(if $(BASE),--base $(BASE)) $(if $(TAG),--tag $(TAG))

images-check: ## Build the images with buildah on a base of debootstrap, and test their containers (Debian, root)
	@exec $(BOOTSTRAP) tests python -m deploy.build.images.check

RELEASE_OPTIONS = $(if $(IMAGES),--images $(IMAGES)) $(if $(ENGINE),--engine "$(ENGINE)")

release: tools ## Build wheels, images, charts, manifests and bills of materials into dist/VERSION (BASE, IMAGES=no, ENGINE)
	@$(BOOTSTRAP) exec python -m deploy.build.release $(RELEASE_OPTIONS) $(if $(BASE),--base $(BASE)) \
		"$(or $(VERSION),$(error name the version: make release VERSION=1.4.0))"

publish: tools ## Push images and charts of dist/VERSION to REGISTRY (IMAGES=no, ENGINE)
	@$(BOOTSTRAP) exec python -m deploy.build.release.publish $(RELEASE_OPTIONS) \
		"$(or $(VERSION),$(error name the version))" \
		"$(or $(REGISTRY),$(error name the registry: REGISTRY=registry.example.com/team))"

release-check: tools ## Build a release, push it to a docker-registry of this machine, and render the charts from there (Debian, root)
	@exec $(BOOTSTRAP) exec python -m deploy.build.release.check

lock: ## Pin the packages of requirements.in in all lock files again, with hashes
	@$(BOOTSTRAP) exec uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--no-config --no-emit-index-url --no-emit-find-links --no-annotate --no-header \
		requirements.in --output-file requirements.lock
	@$(BOOTSTRAP) exec python -m deploy.build.locks

clean: ## Remove .venv and caches; data in .svgx is kept
	rm -rf .venv .venv.lock .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
