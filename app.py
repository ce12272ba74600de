"""`streamlit run app.py`: the pages of Cohort Sync."""

from pages.parts import frame

if __name__ == "__main__":
    frame.main()
