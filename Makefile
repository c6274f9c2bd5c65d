# A thin front: the work is in CMakePresets.json and tools/.  `make help` lists the targets.
#
#   make            build only (build/release/bin/migaki); says which package is missing
#   make demo       install what is missing, fetch the model, build, run the main job
#   make test       install what is missing, fetch the models, build, run every test
MODEL        ?= gemma3
MODELS       ?= $(or $(MIGAKI_MODELS),$(CURDIR)/models)
REFERENCE    ?= $(or $(MIGAKI_REF),$(CURDIR)/build/reference)
SHARED       ?= $(or $(MIGAKI_SHARED),$(CURDIR)/../shared)
FUZZ_SECONDS ?= 60
PREFIX       ?= /usr/local
CONFIGURE    ?=
JOBS         ?= $(shell nproc)

folders = -DMIGAKI_MODELS=$(MODELS) -DMIGAKI_REF=$(REFERENCE) -DMIGAKI_SHARED=$(SHARED)

.PHONY: all build configure-% setup reference models demo test asan check-fuzz fuzz bench deb install clean help
.NOTPARALLEL:
all: build

configure-%:
	@command -v cmake >/dev/null && command -v ninja >/dev/null && command -v pkg-config >/dev/null \
	    && echo 'int main(void) { return 0; }' | cc -x c -o /dev/null - 2>/dev/null || { tools/setup.sh missing; exit 1; }
	@cmake --preset $* $(folders) $(CONFIGURE) >build-$*.log 2>&1 && rm build-$*.log || { \
	    cat build-$*.log >&2; rm -f build-$*.log; exit 1; }

build: configure-release
	cmake --build --preset release

setup:
	tools/setup.sh build

reference:
	@test -x $(SHARED)/unpack || { echo "$(SHARED): no reference data there; give its folder with MIGAKI_SHARED=DIR"; exit 1; }
	$(SHARED)/unpack $(REFERENCE)

models:
	tools/models.sh all $(MODELS)

demo: setup
	tools/models.sh $(MODEL) $(MODELS)
	@$(MAKE) --no-print-directory build
	tools/demo.sh $(MODEL) $(MODELS)

test:
	tools/setup.sh test
	@$(MAKE) --no-print-directory reference models build check-fuzz
	ctest --preset release -j $(JOBS)

# The corpus of every fuzz target, replayed under the sanitizers.
check-fuzz: configure-asan
	cmake --build --preset asan --target fuzz_targets
	ctest --test-dir build/asan -L fuzz --no-tests=error --output-on-failure -j $(JOBS)

asan: reference configure-asan
	cmake --build --preset asan
	ctest --preset asan -j $(JOBS)

fuzz:
	tools/setup.sh test
	@$(MAKE) --no-print-directory configure-fuzz
	cmake --build --preset fuzz --target fuzz_targets
	tools/fuzz.sh build/fuzz $(FUZZ_SECONDS)

bench: setup build
	cmake --build --preset release --target benches
	@for b in bench/*.sh; do echo "== $$b"; MIGAKI_MODELS=$(MODELS) bash $$b build/release || exit 1; done

deb: setup build
	cpack --config build/release/CPackConfig.cmake -B build/deb
	@ls build/deb/*.deb

install: build
	cmake --install build/release --prefix $(PREFIX)
	@if [ -e build/release/bin/libmigaki-cuda.so ]; then cmake --install build/release --prefix $(PREFIX) --component cuda; fi

# What was fetched (models, yyjson, the reference data) stays.
clean:
	rm -rf build/release build/debug build/asan build/fuzz build/deb

help:
	@sed -n 's/^#   //p' Makefile; echo "also: setup models reference asan fuzz bench deb install clean"
	@echo "variables: MODEL=gemma3|smollm2|qwen MIGAKI_MODELS= MIGAKI_SHARED= FUZZ_SECONDS= PREFIX= CONFIGURE="
