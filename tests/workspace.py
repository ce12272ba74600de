"""What the tests of pages without a browser share: a data folder, the pages that show it, what they say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from streamlit.testing.v1 import AppTest

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Workspace:
    """A data folder and the pages that show it."""

    data_dir: Path

    def page(self, name: str, **wishes: str) -> AppTest:
        """Run a page as its address asks for it."""
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=30)
        app.switch_page(f"pages/{name}.py")
        for wish, value in wishes.items():
            app.query_params[wish] = value
        app.run()
        assert not app.exception
        return app


def page_text(app: AppTest) -> str:
    """Everything a page says in words."""
    kinds = ("title", "header", "markdown", "text", "caption", "info", "warning", "error", "success", "code")
    return "\n".join(str(element.value) for kind in kinds for element in app.get(kind)).replace("\\", "")


def click_button(app: AppTest, label: str) -> None:
    """Click the button with this label."""
    next(button for button in app.button if button.label == label).click().run()
    assert not app.exception
