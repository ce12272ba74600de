"""Run the pages of Cohort Sync: `streamlit run app.py`.

Streamlit reads this file twice: once as a module, for the application that serves the pages and what
monitoring asks, and as the script `__main__` for every person who looks at a page.
"""

import os

import streamlit as st

from pages.parts import layout, monitoring
from sync.service.alert_worker import start_runner_watch

if __name__ == "__main__":
    layout.run_app()
else:
    start_runner_watch(os.environ)
    app = st.App(__file__, routes=monitoring.list_routes())
