"""The template engine of pages, and the style that they share."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comparisons.report import panels as select
from comparisons.report import wording

if TYPE_CHECKING:
    import jinja2

TEMPLATES = Path(__file__).with_name("templates")


def environment() -> jinja2.Environment:
    """An engine that escapes every text and refuses names that are not there, with the filters of all pages."""
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters |= {"number": wording.number, "span": wording.span, "measure": select.measure_label}
    return made


@dataclass(frozen=True)
class Script:
    """A page's script, and the source by which its content security policy lets it run, and no other."""

    text: Any
    source: str


def script(*names: str) -> Script:
    """Files of the templates' folder as one script."""
    from markupsafe import Markup

    text = "".join((TEMPLATES / f"{name}.js").read_text(encoding="utf-8") for name in names)
    return Script(Markup(text), "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode())


def style() -> str:
    """The style sheet of all pages."""
    return (TEMPLATES / "report.css").read_text(encoding="utf-8")
