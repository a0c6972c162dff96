"""Scoring rules with a real small language model: against a straight computation, and through a server."""

import importlib.util
from pathlib import Path

import openai
import pytest

from routellm_core.robustness.demonstrations import demonstrate
from routellm_core.robustness.endpoint import EndpointModel
from routellm_core.robustness.perturbations import replace_symbols
from routellm_core.robustness.scoring import LikelihoodModel, continuations, render
from support.logprob_server import LogprobServer

pytestmark = pytest.mark.slow
QUESTIONS = Path(__file__).parents[2] / "benchmarks" / "general_questions.py"


@pytest.fixture(scope="module")
def scorer(folders):
    from routellm_core.robustness.likelihood import CausalScorer

    return CausalScorer(folders[0], batch_size=4)


@pytest.fixture(scope="module")
def items():
    spec = importlib.util.spec_from_file_location("general_questions", QUESTIONS)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.questions()[:8]


@pytest.mark.parametrize(("rule", "shots"), [("symbol", 0), ("hybrid", 0), ("cloze", 0), ("hybrid", 2)])
def test_likelihoods_equal_a_straight_computation(scorer, items, rule, shots):
    import torch

    asked = [replace_symbols(item) for item in items] if rule == "symbol" else items
    shown = [demonstrate(item, items, "first", shots=shots) if shots else () for item in asked]
    prompts = [render(item, before, rule=rule) for item, before in zip(asked, shown, strict=True)]
    texts = [continuations(item, rule=rule) for item in asked]
    found = scorer.log_likelihoods(prompts, texts)
    model, made = scorer._model, scorer._tokenizer
    for prompt, ends, likelihoods in zip(prompts, texts, found, strict=True):
        for end, likelihood in zip(ends, likelihoods, strict=True):
            before, whole = made(prompt)["input_ids"], made(prompt + end)["input_ids"]
            assert whole[: len(before)] == before
            with torch.inference_mode():
                logits = torch.log_softmax(model(torch.tensor([whole])).logits[0], dim=-1)
            straight = sum(float(logits[i - 1, whole[i]]) for i in range(len(before), len(whole)))
            assert likelihood.log_probability == pytest.approx(straight, abs=1e-4)


def test_a_server_that_gives_the_models_own_log_probabilities_answers_alike(scorer, items):
    import torch

    def top(prompt):
        with torch.inference_mode():
            ids = torch.tensor([scorer._tokenizer(prompt)["input_ids"]])
            likely = torch.log_softmax(scorer._model(ids).logits[0, -1], dim=-1).topk(20)
        return list(zip(map(scorer._tokenizer.decode, likely.indices), likely.values.tolist(), strict=True))

    local = LikelihoodModel(scorer).answer(items)
    with LogprobServer(top) as server, openai.OpenAI(base_url=server.url, api_key="none", max_retries=0) as client:
        remote = EndpointModel(client, "smollm2").answer(items)
    assert remote.how == "symbol, top log-probabilities"
    assert remote.unparsable == 0
    assert remote.chosen == local.chosen
