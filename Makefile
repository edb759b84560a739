# Everything a person does here, by name. `make` lists it.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory --no-builtin-rules

GO ?= go
GO_WANTED := 1.26

# The modules in the order of their dependencies; go.work lists the same ones.
MODULES := events migrations pkg gateway gateway/client workers deploy/devstack deploy/e2e deploy/bench
DEVSTACK := bin/devstack

GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

# The last line of releases that runs on the Node.js of Debian 12.
REDOCLY := @redocly/cli@1.34.5

# The race detector needs a C compiler; without one the tests still run.
RACE = $(shell test "$$($(GO) env CGO_ENABLED)" = 1 && echo -race)
TEST_TIMEOUT ?= 9m
TESTFLAGS ?=

# Installs Debian packages when that is possible without asking anybody, and says so when it is not.
define apt_install
if ! command -v apt-get >/dev/null; then \
	echo "make: no apt-get here: $(2)" >&2; exit 0; \
fi; \
as_root=(); \
if [ "$$(id -u)" -ne 0 ]; then \
	if ! sudo -n true 2>/dev/null; then echo "make: not root and no passwordless sudo: $(2)" >&2; exit 0; fi; \
	as_root=(sudo -n); \
fi; \
echo "make: installing $(1)"; \
"$${as_root[@]}" apt-get update -qq </dev/null >/dev/null || true; \
"$${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(1) </dev/null >/dev/null \
	|| echo "make: apt-get could not install $(1): $(2)" >&2
endef

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | \
		while IFS=$$'\t' read -r name text; do printf '  make %-10s %s\n' "$$name" "$$text"; done

.PHONY: run
run: $(DEVSTACK) postgres ## Start the whole system, tour it, serve until Ctrl-C (TOUR=0: no tour; ARGS="--help": flags)
	@exec $(DEVSTACK) run $(ARGS)

.PHONY: tour
tour: $(DEVSTACK) postgres ## Start the system on free ports in a temporary folder, check the tour's answers, stop it
	@exec $(DEVSTACK) tour $(ARGS)

.PHONY: test
test: $(DEVSTACK) postgres redis compiler ## Run every test with the race detector against fresh engines (PKG=./pkg/bus/...: only those)
	@exec $(DEVSTACK) exec -- $(GO) test $(RACE) -timeout $(TEST_TIMEOUT) $(TESTFLAGS) $(or $(PKG),$(MODULES:%=./%/...))

.PHONY: authz
authz: $(DEVSTACK) postgres redis ## Call every operation as everybody, and try every table as every role
	@exec $(DEVSTACK) exec -- $(GO) test -count=1 -v -run '^(TestAuthorizationMatrix|TestIsolationOfEveryTable)$$' ./gateway/internal/httpapi ./pkg/store

.PHONY: bench
bench: $(DEVSTACK) postgres redis ## Measure, with engines that bring every commit to the disk (ARGS: flags of deploy/bench)
	@exec $(DEVSTACK) exec --durable -- $(GO) run ./deploy/bench/cmd/bench $(ARGS)

# Limits of how often something may be asked, which who asks everything has to do without.
LIMITS := RATE_LIMIT_USER RATE_LIMIT_KEY RATE_LIMIT_ORGANIZATION RATE_LIMIT_ADDRESS \
	LOGINS_PER_ACCOUNT LOGINS_PER_ADDRESS REGISTRATIONS_PER_ADDRESS

.PHONY: fuzz-api
fuzz-api: $(DEVSTACK) postgres ## Ask the system all that the OpenAPI document allows, and much that it does not (ARGS="--for 60s": flags)
	@exec $(DEVSTACK) with $(LIMITS:%=--env %=0) -- $(GO) run ./deploy/e2e/cmd/fuzz-api $(ARGS)

.PHONY: chaos
chaos: toolchain postgres ## Kill, freeze and cut off everything while clients use it, and check that no promise is broken (ARGS="-seed 7": flags)
	@exec $(GO) run ./deploy/e2e/cmd/chaos $(ARGS)

# The test binary itself, because go test would keep to itself what the drills tell while they run.
.PHONY: drill
drill: $(DEVSTACK) postgres redis ## Kill, restart and cut off what a promise is about, and measure it (ARGS="-only takeover": some of it)
	@$(GO) test -c -o bin/drill ./deploy/e2e
	@cd deploy/e2e && exec "$(CURDIR)/$(DEVSTACK)" exec --durable -- "$(CURDIR)/bin/drill" -drill $(ARGS)

.PHONY: verify
verify: build ## Check that modules build alone, dependencies are tidy, code is formatted, generated files are current, links live
	@for module in $(MODULES); do \
		echo "verify $$module"; \
		(cd $$module && GOWORK=off $(GO) mod tidy -diff && GOWORK=off $(GO) build ./... && GOWORK=off $(GO) vet ./...); \
	done
	@unformatted=$$(gofmt -l $(MODULES)); \
	if [ -n "$$unformatted" ]; then echo "not formatted (make fmt): $$unformatted" >&2; exit 1; fi
	@docs/configuration.sh | diff -u docs/configuration.md - || { echo "docs/configuration.md is old: make generate" >&2; exit 1; }
	@bin/gateway openapi --yaml | diff -u docs/openapi.yaml - || { echo "docs/openapi.yaml is old: make generate" >&2; exit 1; }
	@mkdir -p bin/client && $(call generate_client,$(CURDIR)/bin/client)
	@diff -u <(cd gateway/client && tail -n +1 -- *_gen.go) <(cd bin/client && tail -n +1 -- *_gen.go) || \
		{ echo "gateway/client is old: make generate" >&2; exit 1; }
	@dead=0; while read -r file; do \
		while read -r path; do \
			[ -e "$$(dirname "$$file")/$$path" ] || { echo "$$file: a link leads to $$path, which does not exist" >&2; dead=1; }; \
		done < <(grep -oE '\]\([^()#: ]+[)# ]' "$$file" | sed 's/^..//; s/.$$//'); \
	done < <(git ls-files '*.md'); exit $$dead

.PHONY: lint
lint: toolchain ## Run the linters of .golangci.yaml
	@mkdir -p bin && GOBIN="$(CURDIR)/bin" GOWORK=off GOFLAGS= $(GO) install $(GOLANGCI)
	@failed=(); for module in $(MODULES); do \
		echo "lint $$module"; \
		(cd $$module && "$(CURDIR)/bin/golangci-lint" run --config "$(CURDIR)/.golangci.yaml" ./...) || failed+=("$$module"); \
	done; \
	if [ $${#failed[@]} -gt 0 ]; then echo "lint: findings in $${failed[*]}" >&2; exit 1; fi

# Writes the client's generated files into a folder.
generate_client = bin/gateway openapi | (cd gateway/client && $(GO) run ./internal/generate -out "$(1)")

.PHONY: lint-api
lint-api: build node ## Lint the OpenAPI document with redocly's recommended rules (fetched with npx at first)
	@bin/gateway openapi --yaml >bin/openapi.yaml
	@export REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true NO_UPDATE_NOTIFIER=1; \
	if ! npx --yes $(REDOCLY) --version >/dev/null 2>bin/npx.log; then \
		tail -n 5 bin/npx.log >&2; echo "make: npx could not fetch $(REDOCLY); at first it needs the network" >&2; exit 1; \
	fi; \
	npx --yes $(REDOCLY) lint --config redocly.yaml bin/openapi.yaml

.PHONY: node
node:
	@if ! command -v npx >/dev/null; then \
		$(call apt_install,nodejs npm,Node.js 18.17 or later is needed: https://nodejs.org); \
	fi
	@command -v npx >/dev/null || { echo "make: npx is missing: Node.js 18.17 or later comes with it: https://nodejs.org" >&2; exit 1; }

.PHONY: generate
generate: build ## Write the generated files anew (docs/configuration.md, docs/openapi.yaml, gateway/client)
	@docs/configuration.sh >bin/configuration.md && mv bin/configuration.md docs/configuration.md
	@bin/gateway openapi --yaml >bin/openapi.yaml && mv bin/openapi.yaml docs/openapi.yaml
	@$(call generate_client,.)

.PHONY: docs
docs: generate

.PHONY: fmt
fmt: toolchain ## Format the code
	@gofmt -w $(MODULES)

.PHONY: build
build: toolchain ## Build every program into bin/
	@mkdir -p bin && $(GO) build -o bin/ ./gateway/cmd/... ./workers/cmd/... ./migrations/cmd/... ./deploy/devstack/cmd/...

.PHONY: clean
clean: $(DEVSTACK) ## Throw away the local system's data and everything that was built
	@$(DEVSTACK) clean
	@rm -rf bin

.PHONY: postgres
postgres: ## Make sure that Postgres binaries are there (through apt when possible; else they are fetched at the first start)
	@if ! command -v postgres >/dev/null && ! compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null; then \
		$(call apt_install,postgresql,Postgres will be fetched at the first start); \
	fi

.PHONY: redis
redis:
	@if ! command -v redis-server >/dev/null; then \
		$(call apt_install,redis-server,miniredis will take its place); \
	fi

.PHONY: compiler
compiler: toolchain
	@if [ "$$($(GO) env CGO_ENABLED)" != 1 ]; then \
		$(call apt_install,gcc libc6-dev,tests run without the race detector); \
	fi

.PHONY: toolchain
toolchain:
	@if ! command -v $(GO) >/dev/null; then \
		echo "make: Go is not installed (or not in PATH): get version $(GO_WANTED) or later from https://go.dev/dl/" >&2; exit 1; \
	fi; \
	have=$$(GOWORK=off GOTOOLCHAIN=local $(GO) env GOVERSION); have=$${have#go}; \
	if [ "$$(printf '%s\n' "$(GO_WANTED)" "$$have" | sort -V | head -n 1)" != "$(GO_WANTED)" ]; then \
		echo "make: this is Go $$have; version $(GO_WANTED) or later is needed: https://go.dev/dl/" >&2; exit 1; \
	fi

# Always asked for: the go command knows best whether anything changed.
.PHONY: $(DEVSTACK)
$(DEVSTACK): toolchain
	@[ -e $@ ] || echo "make: building the launcher"
	@mkdir -p bin && $(GO) build -o $@ ./deploy/devstack/cmd/devstack
