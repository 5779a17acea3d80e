# Two commands: `make demo` shows the main job, `make test` builds and runs all tests. Both install what they need.
BUILD ?= build
JOBS ?= $(shell nproc)

# Minutes of silence look like a hang: every step that takes long says what it does and how far it is.
export NINJA_STATUS = [%f of %t, %es]$(space)
empty :=
space := $(empty) $(empty)

.PHONY: all build programs image test unit simulate lint sanitize e2e demo bench model fuzz coverage clean deps

all: build

deps:
	@tools/install-deps

$(BUILD)/build.ninja: | deps
	@echo "configuring the build in $(BUILD)"
	@cmake -S . -B $(BUILD) -G Ninja >/dev/null

programs: $(BUILD)/build.ninja
	@echo "building the programs"
	@ninja -C $(BUILD) -j$(JOBS)

image: programs
	@guest/build-image --agent $(BUILD)/bin/understudy-agent --out $(BUILD)/guest

build: image

# Everything that CI runs: style; simulation and model; all unit tests and the simulation again under sanitizers; real
# guests with the programs as they ship.
test: build lint simulate sanitize e2e

lint: programs
	@tools/lint

# All but real guests, without sanitizers: what a developer runs between two changes.
unit: programs
	@ninja -C $(BUILD) -j$(JOBS) unit_tests
	@ctest --test-dir $(BUILD) --output-on-failure -j$(JOBS) -LE e2e --no-tests=error

# The simulator at full speed, and the protocol as a Spin model.
simulate: programs
	@ninja -C $(BUILD) -j$(JOBS) sim_tests
	@ctest --test-dir $(BUILD) --output-on-failure -j$(JOBS) -R '^(sim|formal)\.' --no-tests=error

# The model alone; a part of `simulate` and `unit`, too.
model: deps
	@formal/run
	@formal/run --mutants

sanitize: deps
	@cmake -S . -B $(BUILD)/sanitize -G Ninja -DUNDERSTUDY_SANITIZE=ON -DCMAKE_BUILD_TYPE=Debug >/dev/null
	@echo "building the programs and their tests again, with sanitizers"
	@ninja -C $(BUILD)/sanitize -j$(JOBS) all unit_tests
	@ctest --test-dir $(BUILD)/sanitize --output-on-failure -j$(JOBS) -LE e2e --no-tests=error

# Everything that is read from somebody untrusted, under libFuzzer; tests/fuzz/README.md. `unit` replays the corpus.
FUZZ_SECONDS ?= 600
fuzz:
	@tools/install-deps --fuzz
	@BUILD=$(BUILD) JOBS=$(JOBS) tests/fuzz/run --seconds $(FUZZ_SECONDS)

# Lines of src/core that its tests run; fails below 95 %.
coverage: deps
	@tools/coverage

e2e: image
	@ninja -C $(BUILD) -j$(JOBS) guest_cgroup_test
	@ctest --test-dir $(BUILD) --output-on-failure -L e2e --no-tests=error

demo: build
	@demo/demo

bench: build
	@bench/run
	@bench/ladder

clean:
	rm -rf $(BUILD)
