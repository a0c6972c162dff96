#!/bin/sh
# Make the environment of the peer, routellm 0.2.0 (lm-sys, Apache-2.0), which the tests in tests/parity compare with.
#
#     benchmarks/peer/setup.sh [FOLDER]        # default: .venv-peer
#     ROUTELLM_PEER_PYTHON=.venv-peer/bin/python pytest -m parity
#
# The peer is installed without its dependencies: of the eleven it names, its routers import those below.
# Nothing of the peer is changed on disk. What `language_models.py` changes in its own process is listed at its head; what
# `mf_forward.py` changes, and why:
#   1. OPENAI_API_KEY is set to a dummy, because the peer makes an OpenAI client when it is imported.
#   2. That client is replaced, in `routellm.routers.matrix_factorization.model` alone, by one that returns the given
#      embeddings instead of asking OpenAI for them. Weights, forward pass and sigmoid are the peer's.
# The variable PYTHON chooses the interpreter, 3.11 or later.
set -eu
venv=${1:-.venv-peer}
[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
# torch comes first and alone: the index that serves its CPU build need not have the rest.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    'numpy>=2,<3' 'pandas>=2.2' 'scikit-learn>=1.5' 'openai>=1.108' 'huggingface-hub>=1.0' 'safetensors>=0.4.5' \
    'transformers>=5.23,<6' 'datasets>=4' 'pyyaml>=6' 'tqdm>=4'
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps routellm==0.2.0
"$venv/bin/python" "$(dirname "$0")/mf_forward.py" --version
