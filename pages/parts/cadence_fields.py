"""Fields that say when a sync is refreshed: a time of day with its zone and days, a last day; and whether all fits."""

from __future__ import annotations

from datetime import datetime, time
from time import time as now
from zoneinfo import available_timezones

import streamlit as st

from pages.parts.formatting import escape_markdown, localize_times, viewer_zone
from sync.cadence import DAYS, DailyTime, find_end, find_zone
from sync.model import DAY
from sync.service import Service

AT_TIME_OF_DAY = -1.0  # stands for a time of day among the intervals
TIME_OF_DAY_LABEL = "At a time of day"
FIRST_TIME = time(7, 30)
DAY_LABELS = {day: day.capitalize() for day in DAYS}


def choose_time_of_day(key: str, known: DailyTime | None) -> DailyTime:
    """Show the fields of a time of day, filled with the one of the sync or the viewer's zone; return what they say."""
    zones = [*sorted(name for name in available_timezones() if "/" in name and not name.startswith("Etc/")), "UTC"]
    zone = known.zone if known else viewer_zone().key
    zones = zones if zone in zones else [zone, *zones]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        at = st.time_input("Time", time.fromisoformat(known.at) if known else FIRST_TIME, key=f"{key}-at", width=120)
        chosen = st.selectbox("Time zone", zones, index=zones.index(zone), key=f"{key}-zone", width=240)
        days = st.pills(
            "Days",
            DAYS,
            selection_mode="multi",
            default=known.days.split(",") if known else list(DAYS),
            key=f"{key}-days",
            format_func=DAY_LABELS.__getitem__,
        )
    if not days:
        st.caption("No day is chosen, so it is refreshed every day.")
    return DailyTime.parse(f"{at or FIRST_TIME:%H:%M}", chosen, ",".join(days))


def choose_end(key: str, known: float | None, daily: DailyTime | None) -> float | None:
    """Show the field of the last day; return its end in the sync's zone, else in the viewer's, and None for no end.

    An end that is over is left out: a sync that is exported again would be refused for it.
    """
    known = known if known and known > now() else None
    zone = daily.zone if daily else viewer_zone().key
    day = datetime.fromtimestamp(known - 1, find_zone(zone)).date() if known else None
    last = st.date_input("Last day (optional)", day, key=f"{key}-until", format="YYYY-MM-DD", width=180)
    if last is None or last == day:
        return known if last else None  # as it was, also when it was chosen in another zone
    return find_end(last.isoformat(), zone)


def show_fit(
    service: Service, project_id: int, cohort_id: int, interval: float | None, daily: DailyTime | None
) -> None:
    """Show whether all syncs of the project together fit Mixpanel's limit when this one is refreshed so."""
    fits, sentence = service.hourly_fit.check(project_id, cohort_id, interval or DAY, daily)
    text = escape_markdown(localize_times(sentence))
    if fits:
        st.caption(f":material/hourglass_empty: {text}")
    else:
        st.warning(text, icon=":material/hourglass_full:")
