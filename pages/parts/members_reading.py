"""Read a cohort's members in the background of one browser session, and show how far it is.

The members are in that session's memory only. A page asks Mixpanel for nothing while it is drawn: a thread reads page
by page, and ends by itself when all is read, when it is cancelled, or when nobody looks any more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import streamlit as st

from pages.parts import polling
from pages.parts.formatting import format_count, format_error, format_queries, format_time
from pages.parts.session import current_actor, open_service
from sync.errors import CohortSyncError
from sync.permissions import Actor
from sync.records import CohortView
from sync.service import Service
from sync.service.cohorts import PREVIEW_FRESH_SECONDS
from sync.service.member_reading import MemberReading
from sync.text import count_noun
from sync.views import Preview

READING_KEY = "_member_reading"
ACCESS_KEY = "_classified_access"  # by project, whether Mixpanel lets its service account see classified data
PAGES_AT_ONCE = 10  # pages, 1,000 members each, read without asking first
PAGE_SIZE = 1000  # members Mixpanel sends a page
MAX_HELD = 50_000  # members one browser session may hold, some 30 MB; the command `members` lists more
UNWATCHED_SECONDS = 120.0  # after which a reading ends that no page has looked at
PATIENCE_SECONDS = 0.7  # a small cohort is read within it, and then drawn at once
POLL_SECONDS = 1.0  # between two looks at a reading that goes on
BROKEN = "The reading ended unexpectedly; the log of the pages says why."


class _Cancelled(CohortSyncError):
    """Somebody cancelled the reading between two tries at a page."""


class BackgroundReading:
    """One browser session's reading of one cohort, and the thread that works on it."""

    def __init__(self, reading: MemberReading, actor: Actor, access: dict[int, bool | None]) -> None:
        """Read for this person; ``access`` is what this session knows of the right to see classified data."""
        self.reading, self._actor, self._access = reading, actor, access
        self.problem = ""
        self._pages = PAGES_AT_ONCE
        self._cancelled = threading.Event()
        self._ended = threading.Event()
        self._ended.set()
        self._looked_at = time.monotonic()

    @property
    def is_running(self) -> bool:
        """Return whether pages are being read."""
        return not self._ended.is_set()

    @property
    def pages_wanted(self) -> int:
        """Return how many pages are read before somebody is asked."""
        return min(self._pages, self.reading.everyone.announced_pages)

    def start(self, pages: int = PAGES_AT_ONCE) -> None:
        """Read on, up to so many pages; do nothing while that is being done."""
        if self.is_running:
            return
        self._pages, self.problem = pages, ""
        self._looked_at = time.monotonic()
        self._cancelled.clear()
        self._ended.clear()
        threading.Thread(target=self._work, name="members", daemon=True).start()

    def cancel(self) -> None:
        """Stop after the page that is on its way, or between two tries at it; what was read stays."""
        self._cancelled.set()

    def _pause(self, seconds: float) -> None:
        if self._cancelled.wait(seconds):
            raise _Cancelled

    def look(self, seconds: float = 0.0) -> None:
        """Note that somebody looks, and wait for the end, at most so long."""
        self._looked_at = time.monotonic()
        self._ended.wait(seconds)

    def _work(self) -> None:
        problem = BROKEN
        try:
            while self._wants_page() and self._read_page():
                pass
            with open_service(self._actor) as service:
                service.members.save_numbers(self.reading)
                self._learn_access(service)
            problem = ""
        except _Cancelled:
            problem = ""
        except CohortSyncError as error:
            problem = str(error)
        finally:
            self.problem = problem
            self._ended.set()

    @property
    def sees_classified_data(self) -> bool | None:
        """Return whether the service account may see classified data; None when that is not known."""
        return self._access.get(self.reading.project_id)

    def _learn_access(self, service: Service) -> None:
        """Ask, once a session, whether an empty column may be one that Mixpanel withholds."""
        project_id = self.reading.project_id
        if project_id not in self._access and self.reading.is_complete and self.reading.find_empty_columns():
            self._access[project_id] = service.members.sees_classified_data(project_id)

    def _read_page(self) -> bool:
        """Read one page; return whether another one follows."""
        is_beyond = self.reading.everyone.page_count >= self._pages  # only to find somebody anonymous
        with open_service(self._actor) as service:
            return service.members.read_next(self.reading, backwards=is_beyond, sleep=self._pause)

    def _wants_page(self) -> bool:
        if self._cancelled.is_set() or time.monotonic() - self._looked_at > UNWATCHED_SECONDS:
            return False
        reading = self.reading
        if reading.member_count >= MAX_HELD:
            return False
        return reading.everyone.page_count < self._pages or reading.misses_anonymous or reading.needs_profiles


def get_reading(project_id: int, cohort_id: int) -> BackgroundReading | None:
    """Return this browser session's reading of a cohort, or None."""
    kept = st.session_state.get(READING_KEY)
    if kept and (kept.reading.project_id, kept.reading.cohort_id) == (project_id, cohort_id):
        return kept  # type: ignore[no-any-return]
    return None


def begin_reading(project_id: int, cohort_id: int, properties: tuple[str, ...] = ()) -> BackgroundReading:
    """Begin to read a cohort, in place of what this browser session read before."""
    forget_reading()
    with open_service() as service:
        reading = service.members.begin(project_id, cohort_id, properties)
    made = st.session_state[READING_KEY] = BackgroundReading(
        reading, current_actor(), st.session_state.setdefault(ACCESS_KEY, {})
    )
    made.start()
    made.look(PATIENCE_SECONDS)
    return made


def forget_reading() -> None:
    """Drop what this browser session read, and end the reading that goes on."""
    kept = st.session_state.pop(READING_KEY, None)
    if kept:
        kept.cancel()


def get_known_numbers(project_id: int, cohort_id: int) -> Preview | None:
    """Return what is known of a cohort without asking Mixpanel, or None.

    What this browser session read within ten minutes comes first, exact once it read everybody; else a stored preview
    of the last ten minutes.
    """
    kept = get_reading(project_id, cohort_id)
    with open_service() as service:
        if kept and kept.reading.everyone.page_count:
            kept.look()
            if time.time() - kept.reading.read_at < PREVIEW_FRESH_SECONDS:
                return service.members.summarize(kept.reading)
        return service.cohorts.get_known(project_id, cohort_id)


def ensure_reading(project_id: int, cohort: CohortView) -> BackgroundReading | None:
    """Return this session's reading, begun now if the queries left this hour allow it; else offer it and return None."""
    kept = get_reading(project_id, cohort.id)
    if kept:
        return kept
    likely = min(PAGES_AT_ONCE, -(-(cohort.count or PAGE_SIZE) // PAGE_SIZE))
    with open_service() as service:
        left, more_at = service.members.count_queries_left(project_id), service.members.more_queries_at(project_id)
    if left > likely or st.session_state.pop(f"_read-{project_id}-{cohort.id}", False):
        return begin_reading(project_id, cohort.id)
    st.warning(
        f"Reading the members takes up to {count_noun(likely + 1, 'Mixpanel query', 'Mixpanel queries')}, and "
        + (
            f"{count_noun(left, 'is', 'are')} left this hour."
            if left
            else f"none is left this hour; try again at {format_time(more_at)}."
        ),
        icon=":material/speed:",
    )
    st.button("Read the members", on_click=_ask_for_reading, args=(project_id, cohort.id), icon=":material/download:")
    return None


def _ask_for_reading(project_id: int, cohort_id: int) -> None:
    st.session_state[f"_read-{project_id}-{cohort_id}"] = True


def show_progress(kept: BackgroundReading, draw: Callable[[], None], *, polls: bool) -> None:
    """Show how far a reading is, with a way to stop it, and ``draw`` what is known so far.

    ``polls``: draw again each second, and the whole page at the end; not while a dialog is open, which that would close.
    """

    def refresh() -> None:
        kept.look()
        if polls and not kept.is_running:
            polling.redraw_page()
        _draw_progress(kept)
        draw()

    if polls:
        polling.start_fragment(refresh, POLL_SECONDS)
    else:
        refresh()


def _draw_progress(kept: BackgroundReading) -> None:
    pages, read, why_again = kept.reading.everyone, kept.reading.member_count, kept.reading.why_again
    whole = f" of {format_count(pages.total)}" if pages.total is not None else ""
    done = f": {format_count(read)}{whole} members" if pages.page_count else "…"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.progress(min(1.0, pages.page_count / max(1, kept.pages_wanted)), f"Reading from Mixpanel{done}")
        st.button("Cancel", key="cancel-reading", on_click=kept.cancel, icon=":material/close:")
    if why_again:
        st.caption(f":material/hourglass_top: {format_error(why_again)} It is asked again.")


def show_rest(kept: BackgroundReading) -> None:
    """Show why a reading ended early, and offer to read the rest at its price."""
    if kept.problem:
        st.error(format_error(kept.problem), icon=":material/error:")
    pages = kept.reading.everyone
    if kept.reading.is_complete:
        return
    if kept.reading.member_count >= MAX_HELD:
        st.info(
            f"A page lists {MAX_HELD:,} members at most. `python -m sync members {kept.reading.cohort_id} --project "
            f"{kept.reading.project_id}` lists all."
        )
        return
    with open_service() as service:
        left = service.members.count_queries_left(kept.reading.project_id)
    announced = pages.announced_pages if pages.total is not None else pages.page_count + PAGES_AT_ONCE
    wanted = min(announced, MAX_HELD // PAGE_SIZE)
    missing = max(1, wanted - pages.page_count)
    what = f"Read all {format_count(pages.total)}" if pages.total and wanted == pages.announced_pages else "Read more"
    what = what if pages.page_count else "Try again"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(what, key="read-all", icon=":material/download:", on_click=kept.start, args=(wanted,))
        st.caption(f"{count_noun(missing, 'request')}, {format_queries(missing, left)}", width="content")
