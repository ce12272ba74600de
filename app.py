"""Run the pages of Cohort Sync: `streamlit run app.py`."""

from pages.parts import layout

if __name__ == "__main__":
    layout.run_app()
