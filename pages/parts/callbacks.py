"""Finish what a click began, although Streamlit interrupts it for a newer click.

A newer click ends the script at its next use of ``st.session_state`` or of the address, and a callback, too: what it had
still to do is lost, the outcome of what it had done is never shown, and often the click itself is gone (Streamlit 1.67,
``SessionState._run_callback_and_record_rerun``, takes the end of a callback for its own ``st.rerun``).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import ContextVar
from typing import ParamSpec, TypeVar, cast

from streamlit.runtime.scriptrunner import RerunData, RerunException, get_script_run_ctx

from sync.errors import CohortSyncError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class _Outcomes:
    """What the actions of one function returned or raised, in their order, for when the function begins again."""

    def __init__(self) -> None:
        self._kept: list[tuple[object, CohortSyncError | None]] = []
        self._at = 0

    def begin_again(self) -> None:
        self._at = 0

    def recall(self, action: Callable[[], Result]) -> Result:
        """Return or raise the outcome of this action; do it only when it was not done before."""
        if self._at == len(self._kept):
            try:
                self._kept.append((action(), None))
            except CohortSyncError as problem:
                self._kept.append((None, problem))
        result, refusal = self._kept[self._at]
        self._at += 1
        if refusal:
            raise refusal
        return cast(Result, result)


_outcomes: ContextVar[_Outcomes | None] = ContextVar("outcomes", default=None)


def finish(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Return the function made so that a newer click waits until it is done.

    Where the click interrupts it, it begins again. So everything in it comes to the same when begun and done again, and
    what does not stands within ``once``. It must not call ``st.rerun`` or open a page itself.
    """

    @functools.wraps(function)
    def run_to_the_end(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        if _outcomes.get():  # a part of something that is finished as a whole
            return function(*args, **kwargs)
        outcomes, newer = _Outcomes(), []
        token = _outcomes.set(outcomes)
        try:
            while True:
                try:
                    result = function(*args, **kwargs)
                except RerunException as click:
                    newer.append(click.rerun_data)
                    outcomes.begin_again()
                else:
                    break
        finally:
            _outcomes.reset(token)
            _request_again(newer)
        return result

    return run_to_the_end


def once(action: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
    """Do within ``finish`` what must not be done twice; the outcome is kept for when the function begins again."""
    outcomes = _outcomes.get()
    if not outcomes:
        return action(*args, **kwargs)
    return outcomes.recall(lambda: action(*args, **kwargs))


def _request_again(clicks: list[RerunData]) -> None:
    """Let the clicks that waited be heard now."""
    context = get_script_run_ctx()
    if context and context.script_requests:
        for click in clicks:
            context.script_requests.request_rerun(click)
