"""Log-likelihoods of texts after prompts by a causal model of `transformers`; the one module here that imports torch."""

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

from routellm_core.errors import ConfigurationError, MissingDependencyError
from routellm_core.robustness.scoring import Likelihood, Progress
from routellm_core.routers.transformers_backend import cache_argument

try:
    import torch
    import transformers
except ImportError as error:
    raise MissingDependencyError.for_extra("Scoring answers by likelihood", "torch") from error

_CALL_TOKENS = 24  # about as many tokens are read in the time that a call takes to go through all weights


@dataclass(frozen=True, slots=True)
class _Question:
    """A prompt and its continuations as tokens."""

    prefix: list[int]  # what all continuations share and nobody is asked about, but for its last token
    tails: list[list[int]]  # from the last shared token on
    scored: list[int]  # how many tokens at the end of each tail belong to the continuation


class CausalScorer:
    """A causal language model that gives log-likelihoods.

    Args:
        model: A causal model of `transformers`, or its folder or Hub repository.
        tokenizer: Its tokenizer; None loads it from the folder or repository.
        batch_size: How many prompts are read at once, each with all its continuations.
        prefix_cache: Read what continuations and prompts share only once. Only where this changes nothing: a model that takes
            no positions, that sees no more than a window of tokens, or that remembers anything but keys and values reads
            every text whole.
        name: What tables call the model; None takes the last part of its path.
        revision: The revision on the Hub.

    Raises:
        ConfigurationError: If the model cannot be loaded, or the batch size is no whole number of 1 or more.
        MissingDependencyError: If the extra `torch` is not installed.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        *,
        batch_size: int = 16,
        prefix_cache: bool = True,
        name: str | None = None,
        revision: str | None = None,
    ) -> None:
        if batch_size < 1:
            raise ConfigurationError(f"batch_size must be 1 or more, not {batch_size!r}")
        if isinstance(model, str | PathLike):
            try:
                tokenizer = tokenizer or transformers.AutoTokenizer.from_pretrained(model, revision=revision)
                model = transformers.AutoModelForCausalLM.from_pretrained(model, revision=revision)
            except (OSError, ValueError) as error:
                raise ConfigurationError(
                    f"{str(model)!r} cannot be loaded as a causal language model: {error}"
                ) from error
        if tokenizer is None:
            raise ConfigurationError("give tokenizer= with a model object")
        self._model = model.eval()
        self._tokenizer = tokenizer
        self._batch_size = batch_size
        self._takes = frozenset(inspect.signature(model.forward).parameters)
        self._cache_name = cache_argument(model)
        self._positions = _text_config(model).get("max_position_embeddings")
        self._prefix_cache = prefix_cache and {"position_ids", self._cache_name} <= self._takes and self._can_share()
        self.about = {"path": str(model.config.name_or_path), "revision": revision or _commit(model)}
        self.name = name or str(model.config.name_or_path).rstrip("/").rpartition("/")[2] or "model"

    def __repr__(self) -> str:
        return f"CausalScorer({self.name!r})"

    def _can_share(self) -> bool:
        """Tell whether tokens that were read stay as they are, all of them, whatever comes behind: plain keys and values."""
        config = _text_config(self._model)
        windowed = config.get("use_sliding_window", True) and config.get("sliding_window")
        if windowed or config.get("window_size"):
            return False
        with torch.inference_mode():
            cache = self._kept(torch.tensor([[0]]), torch.ones((1, 1), dtype=torch.long))
        layers = getattr(cache, "layers", None) or [None]
        return all(type(layer) is transformers.cache_utils.DynamicLayer for layer in layers)

    def log_likelihoods(
        self,
        prompts: Sequence[str],
        continuations: Sequence[Sequence[str]],
        *,
        progress: Progress | None = None,
    ) -> list[list[Likelihood]]:
        """Return how likely each continuation is after its prompt.

        A continuation's tokens are those of prompt and continuation together from where they differ from the prompt's.

        Args:
            prompts: n texts.
            continuations: For each, the texts that may follow, with the space before them.
            progress: Called with how many prompts are done, and of how many.

        Raises:
            ConfigurationError: If there is not one list of continuations a prompt, one is empty, or has no token.
        """
        if len(prompts) != len(continuations):
            raise ConfigurationError(
                f"there are {len(prompts)} prompts and {len(continuations)} lists of continuations"
            )
        questions = [self._tokenized(p, texts) for p, texts in zip(prompts, continuations, strict=True)]
        # Similar lengths together: less padding. Equal beginnings, as of few-shot prompts, stay together too.
        order = sorted(range(len(questions)), key=lambda i: len(questions[i].prefix))
        results: list[list[Likelihood]] = [[] for _ in questions]
        with torch.inference_mode():
            for done in range(0, len(order), self._batch_size):
                rows = order[done : done + self._batch_size]
                found = iter(self._batch([questions[i] for i in rows]))
                for i in rows:
                    results[i] = [Likelihood(next(found), scored) for scored in questions[i].scored]
                if progress is not None:
                    progress(min(done + self._batch_size, len(order)), len(order))
        return results

    def _tokenized(self, prompt: str, texts: Sequence[str]) -> _Question:
        if not texts:
            raise ConfigurationError("a prompt has no continuations to compare")
        before = self._ids(prompt)
        wholes = [self._ids(prompt + text) for text in texts]
        starts = [_common(before, whole) for whole in wholes]
        if any(start == len(whole) for start, whole in zip(starts, wholes, strict=True)):
            raise ConfigurationError("a continuation has no token of its own: an empty text cannot be scored")
        longest = max(map(len, wholes))
        if self._positions and longest - 1 > self._positions:  # the last token is not read
            raise ConfigurationError(
                f"{self.name!r} has {self._positions} positions, and a prompt with what may follow it has {longest} tokens: "
                "leave the question out, show fewer demonstrations, or take a model that reads more"
            )
        if min(starts) == 0:  # nothing to read before the first token
            first = self._tokenizer.bos_token_id
            if first is None:
                raise ConfigurationError("the prompt is empty and the tokenizer has no token to begin with")
            wholes, starts = [[first, *whole] for whole in wholes], [start + 1 for start in starts]
        shared = min(starts) - 1
        return _Question(
            prefix=wholes[0][:shared],
            tails=[whole[shared:] for whole in wholes],
            scored=[len(whole) - start for whole, start in zip(wholes, starts, strict=True)],
        )

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text)["input_ids"]
        if ids and ids[-1] == self._tokenizer.eos_token_id and not text.endswith(str(self._tokenizer.eos_token)):
            ids = ids[:-1]  # some tokenizers end every text
        return ids

    def _batch(self, questions: Sequence[_Question]) -> list[float]:
        """Return the log-probability of every continuation, question by question."""
        if self._prefix_cache:
            common, rests = _split_common([question.prefix for question in questions])
        else:
            common, rests = [], [[] for _ in questions]
        # What is read of a continuation: all but its last token. Continuations of one token read the same, once.
        reads: dict[tuple[int, tuple[int, ...]], int] = {}
        asked = []
        for owner, question in enumerate(questions):
            for tail, count in zip(question.tails, question.scored, strict=True):
                whole = tail if self._prefix_cache else question.prefix + tail
                row = reads.setdefault((owner, tuple(whole[:-1])), len(reads))
                asked.append((row, whole, count))
        cache, mask = self._read_prefixes(common, rests)
        read = [list(tokens) for _, tokens in reads]
        found = [0.0] * len(asked)
        groups = _alike([len(tokens) for tokens in read])
        for group in groups:
            rows = [list(reads)[row][0] for row in group]
            ids, own = _padded([read[row] for row in group], left=False)
            # The last group may have the cache itself, the others need copies.
            part = cache if cache is None or group is groups[-1] else copy.deepcopy(cache)
            if part is not None:
                part.batch_select_indices(torch.tensor(rows))
            logits = self._run(ids, torch.cat([mask[rows], own], dim=1), part).logits
            place = {row: at for at, row in enumerate(group)}
            for i, (row, whole, count) in enumerate(asked):
                if row not in place:
                    continue
                start = len(whole) - count
                scores = torch.log_softmax(logits[place[row], start - 1 : len(whole) - 1].float(), dim=-1)
                chosen = torch.tensor(whole[start:], device=scores.device)
                found[i] = float(scores.gather(1, chosen[:, None]).sum())
        return found

    def _read_prefixes(self, common: list[int], rests: Sequence[list[int]]) -> tuple[Any, Any]:
        """Read what all prompts share once and the rest of each once; returns the cache and its mask, a row a prompt."""
        cache, mask = None, torch.ones((len(rests), 0), dtype=torch.long)
        if common:
            mask = torch.ones((1, len(common)), dtype=torch.long)
            cache = self._kept(torch.tensor([common]), mask)
            cache.batch_repeat_interleave(len(rests))
            mask = mask.expand(len(rests), -1)
        if any(rests):
            ids, own = _padded(rests, left=True)
            mask = torch.cat([mask, own], dim=1)
            cache = self._kept(ids, mask, cache)
        return cache, mask

    def _kept(self, ids: Any, mask: Any, cache: Any = None) -> Any:
        return getattr(self._run(ids, mask, cache, keep=True), self._cache_name)

    def _run(self, ids: Any, mask: Any, cache: Any = None, *, keep: bool = False) -> Any:
        """Read tokens that stand behind those of the cache; `mask` covers both. Of what is only kept no logits are made."""
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        device = self._model.device
        options = {
            "position_ids": positions.to(device),
            "logits_to_keep": 1 if keep else 0,
            self._cache_name: cache,
        }
        return self._model(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            use_cache=keep or cache is not None,
            **{name: value for name, value in options.items() if name in self._takes},
        )


def _commit(model: Any) -> str | None:
    """Return the commit on the Hub that the weights are of."""
    return getattr(model.config, "_commit_hash", None)


def _text_config(model: Any) -> dict[str, Any]:
    """Return the settings of the part of a model that reads text, by the names that all families share."""
    config = model.config.get_text_config()
    names = ("max_position_embeddings", "sliding_window", "use_sliding_window", "window_size")
    return {name: getattr(config, name) for name in names if hasattr(config, name)}


def _split_common(rows: Sequence[list[int]]) -> tuple[list[int], list[list[int]]]:
    """Split what all rows begin with from the rest of each."""
    common = rows[0]
    for row in rows[1:]:
        common = common[: _common(common, row)]
    return common, [row[len(common) :] for row in rows]


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """Return how many tokens two lists begin with alike."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _alike(lengths: Sequence[int]) -> list[list[int]]:
    """Group rows of like lengths, so that little is read in vain and the model is not called for each row by itself."""
    groups: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        # A row joins the group before it if that costs the others fewer tokens of padding than one more call is worth.
        if groups and (lengths[row] - lengths[groups[-1][0]]) * len(groups[-1]) <= _CALL_TOKENS:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def _padded(rows: Sequence[Sequence[int]], *, left: bool) -> tuple[Any, Any]:
    longest = max(map(len, rows))
    ids = torch.zeros((len(rows), longest), dtype=torch.long)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for i, row in enumerate(rows):
        where = slice(longest - len(row), longest) if left else slice(0, len(row))
        ids[i, where] = torch.tensor(row, dtype=torch.long)
        mask[i, where] = 1
    return ids, mask
