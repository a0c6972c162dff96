import numpy as np
import pytest

from routellm_core import PairRouter, load_router
from routellm_core.errors import ConfigurationError, ScoringError
from routellm_core.evaluation.scores import ScoreCache, measure_speed, score_prompts


class Counting(PairRouter):
    """Counts what it is asked; fails when told to."""

    name = "counting"

    def __init__(self, fingerprint="one", fail_after=10**9):
        self.asked, self.fail_after, self._print = [], fail_after, fingerprint

    @property
    def fingerprint(self):
        return self._print

    def strong_win_rates(self, prompts):
        if len(self.asked) >= self.fail_after:
            raise RuntimeError("down")
        self.asked += prompts
        return np.array([len(prompt) / 100 for prompt in prompts])


PROMPTS = [f"{'x' * i}" for i in range(30)]


def test_equal_prompts_are_scored_once():
    router = Counting()
    scores = score_prompts(router, ["a", "bb", "a", "a"])
    assert router.asked == ["a", "bb"]
    np.testing.assert_allclose(scores[:, 1], [0.01, 0.02, 0.01, 0.01])
    assert scores.shape == (4, 2)


def test_broken_run_goes_on_where_it_was(tmp_path):
    cache = ScoreCache(tmp_path / "deep" / "scores.sqlite")
    broken = Counting(fail_after=20)
    with pytest.raises(RuntimeError):
        score_prompts(broken, PROMPTS, cache=cache, batch_size=10)
    told = []
    again = Counting()
    scores = score_prompts(
        again, PROMPTS, cache=ScoreCache(cache.path), batch_size=4, progress=lambda *x: told.append(x)
    )
    assert again.asked == PROMPTS[20:]
    assert told == [(24, 30), (28, 30), (30, 30)]
    np.testing.assert_array_equal(scores, score_prompts(Counting(), PROMPTS))


def test_fingerprint_decides_not_the_name(tmp_path):
    cache = ScoreCache(tmp_path / "scores.sqlite")
    score_prompts(Counting("one"), PROMPTS, cache=cache)
    other = Counting("two")
    score_prompts(other, PROMPTS, cache=cache)
    assert other.asked == PROMPTS
    assert b"xxxx" not in cache.path.read_bytes()  # prompts are not stored


def test_router_without_a_fingerprint_of_its_own_is_not_kept(tmp_path):
    class Plain(PairRouter):
        def strong_win_rates(self, prompts):
            return np.full(len(prompts), 0.5)

    cache = ScoreCache(tmp_path / "scores.sqlite")
    plain = Plain()
    score_prompts(plain, ["a"], cache=cache)
    assert cache.get(plain, ["a"]) == [None]


@pytest.mark.parametrize("wrong", [np.nan, 1.5, -0.1])
def test_bad_scores_are_refused(wrong):
    class Bad(PairRouter):
        name = "bad"

        def strong_win_rates(self, prompts):
            return np.full(len(prompts), wrong)

    with pytest.raises(ScoringError, match=r"router 'bad' gave a score that is no number in \[0, 1\]"):
        score_prompts(Bad(), ["a"])


def test_wrong_shape_is_refused():
    class Bad(PairRouter):
        name = "bad"

        def score(self, prompts):
            return np.zeros((1, 2))

        def strong_win_rates(self, prompts):
            raise NotImplementedError

    with pytest.raises(ScoringError, match="shape"):
        score_prompts(Bad(), ["a", "b"])


def test_file_that_is_no_cache(tmp_path):
    (tmp_path / "x").write_text("nothing of the kind, and long enough to be no database header at all")
    with pytest.raises(ConfigurationError, match="cannot be used as a score cache"):
        ScoreCache(tmp_path / "x")


def test_speed():
    found = measure_speed(load_router("length"), PROMPTS)
    assert found.n_prompts == 30
    assert 0 < found.p50_ms <= found.p99_ms < 1000
    assert found.prompts_per_s > 10
