"""`streamlit run app.py`: the pages of Cohort Sync."""

from pages.parts import layout

if __name__ == "__main__":
    layout.run_app()
