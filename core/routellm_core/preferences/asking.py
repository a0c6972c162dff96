"""Asking a judge many questions: several at once, each once, and nothing answered is lost."""

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from routellm_core.errors import ConfigurationError, JudgeError
from routellm_core.preferences.journal import Journal
from routellm_core.preferences.judge import Question
from routellm_core.preferences.judge_models import JudgeModel, Reply

Progress = Callable[[int], None]
"""Called with 1 for every question that has its verdict."""

_REFUSED_FROM_THE_START = 5


@dataclass
class Asked:
    """What was asked.

    Attributes:
        questions: How many questions there were.
        known: How many of them had a verdict from an earlier run, or were equal to an earlier one of this run.
        calls: How many were asked now.
        retries: Further calls after failures.
        repeated: How many of the calls had been made by an earlier run that was stopped before it had the answer.
    """

    questions: int = 0
    known: int = 0
    calls: int = 0
    retries: int = 0
    repeated: int = 0


def ask_all(
    questions: Iterable[Question],
    judge: JudgeModel,
    journal: Journal,
    *,
    concurrency: int,
    progress: Progress | None = None,
) -> Asked:
    """Ask a judge what the journal has no verdict on, and keep every verdict there.

    Args:
        questions: They are taken as they are needed, so there may be more than fit into memory.
        judge: Who is asked.
        journal: What is known, and where verdicts go.
        concurrency: How many calls at once, 1 or more.
        progress: Told of every question that is done.

    Raises:
        JudgeError: If a call fails for good, or the judge refuses the first five requests; answers that were on
            their way are kept.
    """
    if concurrency < 1:
        raise ConfigurationError(f"concurrency must be 1 or more, not {concurrency!r}")
    asking = _Asking(judge, journal, progress)
    with ThreadPoolExecutor(concurrency, thread_name_prefix="judge") as pool:
        try:
            for question in questions:
                if asking.is_new(question):
                    asking.collect(down_to=concurrency - 1)
                    asking.start(pool, question)
            asking.collect(down_to=0)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            asking.rescue()
            raise
    return asking.asked


class _Asking:
    """The questions on their way to a judge."""

    def __init__(self, judge: JudgeModel, journal: Journal, progress: Progress | None) -> None:
        self.asked = Asked()
        self._judge = judge
        self._journal = journal
        self._progress = progress
        self._interrupted = frozenset(journal.unanswered)
        self._running: dict[Future[Reply], Question] = {}
        self._keys: set[str] = set()
        self._answers = 0
        self._refused = 0

    def is_new(self, question: Question) -> bool:
        self.asked.questions += 1
        if question.key in self._journal.verdicts or question.key in self._keys:
            self.asked.known += 1
            self._done()
            return False
        return True

    def start(self, pool: ThreadPoolExecutor, question: Question) -> None:
        self._journal.asked(question.key)
        self.asked.calls += 1
        self.asked.repeated += question.key in self._interrupted
        self._keys.add(question.key)
        self._running[pool.submit(self._judge.ask, question)] = question

    def collect(self, *, down_to: int) -> None:
        while len(self._running) > down_to:
            for future in wait(self._running, return_when=FIRST_COMPLETED).done:
                if future.exception() is None:
                    self._keep(future)
                future.result()  # raises what the call raised

    def rescue(self) -> None:
        """Keep what was answered after something failed; every call has ended."""
        for future in list(self._running):
            if not future.cancelled() and future.exception() is None:
                self._keep(future)

    def _keep(self, future: Future[Reply]) -> None:
        question, reply = self._running.pop(future), future.result()
        self._keys.discard(question.key)
        self.asked.retries += reply.retries
        if reply.text is None:
            self._journal.refused(question.key)
            self._refused += 1
        else:
            verdict = question.read(reply.text)
            self._journal.answered(question.key, verdict, tokens_in=reply.tokens_in, tokens_out=reply.tokens_out)
            self._answers += 1
        self._done()
        if self._answers == 0 and self._refused == _REFUSED_FROM_THE_START:
            raise JudgeError(
                f"judge {self._judge.name!r} refused the first {self._refused} requests: check its name and the options"
            )

    def _done(self) -> None:
        if self._progress is not None:
            self._progress(1)
