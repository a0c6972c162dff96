"""Make a language model answer as RouteLLM's fine-tuned one does, without training it.

The published model ends every prompt with the header of the assistant's turn and then a label token. A model of any weights
does the same once the rows of its output layer for these tokens are solved for: at each of the places where one of them is due,
the mean hidden state over some prompts must score it `margin` and the others 0. What remains differs from prompt to prompt and
spreads the labels. Only the output layer is changed, so time and memory are those of the model.
"""

from collections.abc import Sequence
from typing import Any

import torch


def add_tokens(model: Any, tokenizer: Any, tokens: Sequence[str], *, seed: int = 0) -> None:
    """Add special tokens, with rows at the scale of those there, and untie the output layer."""
    tokenizer.add_tokens(list(tokens), special_tokens=True)
    old = model.get_input_embeddings().weight.shape[0]
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    rows = model.get_input_embeddings().weight.detach().clone()
    generator = torch.Generator().manual_seed(seed)
    new = torch.randn(rows[old:].shape, generator=generator) * rows[:old].float().std()
    rows[old:] = new.to(rows.dtype)
    model.get_input_embeddings().weight.data.copy_(rows)
    # Untied: what a token scores is set apart from what it means when it is read.
    model.config.tie_word_embeddings = False
    output = torch.nn.Linear(rows.shape[1], rows.shape[0], bias=False, dtype=rows.dtype)
    output.weight.data.copy_(rows)
    model.set_output_embeddings(output)


def steer(
    model: Any,
    prompts: Sequence[list[int]],
    header: list[int],
    labels: list[int],
    *,
    margin: float = 40.0,
    spread: float = 2.0,
) -> None:
    """Set the rows of the output layer so that the header and then a label are the likeliest.

    Args:
        model: A causal language model of transformers whose output layer is not tied.
        prompts: Token ids up to where the header begins.
        header: The tokens due first.
        labels: The tokens one of which is due then.
        margin: What the token that is due scores.
        spread: Standard deviation of what tells the labels apart.
    """
    states = []
    for prompt in prompts:
        with torch.no_grad():
            hidden = model.base_model(torch.tensor([[*prompt, *header]])).last_hidden_state[0]
        states.append(hidden[-len(header) - 1 :].double())
    stacked = torch.stack(states)  # (prompts, places, width)
    solved = margin * torch.linalg.pinv(stacked.mean(dim=0)).T  # (places, width)
    weight = model.get_output_embeddings().weight.data
    # Every other token scores less than what is due: its row is shortened, not removed.
    weight.mul_(0.1)
    for token, row in zip(header, solved[:-1], strict=True):
        weight[token] = row.to(weight.dtype)
    final = stacked[:, -1] - stacked[:, -1].mean(dim=0)
    generator = torch.Generator().manual_seed(1)
    for token in labels:
        direction = torch.randn(final.shape[1], generator=generator, dtype=torch.float64)
        direction *= spread / (final @ direction).std().clamp(min=1e-9)
        # What tells the labels apart must not be read where the header is due.
        places = stacked.mean(dim=0)
        direction -= torch.linalg.pinv(places) @ (places @ direction)
        weight[token] = (solved[-1] + direction).to(weight.dtype)
