"""Self-contained HTML: templates filled in, nothing fetched when the page is read."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from seg_prior.files import write_text


def write_page(path: Path, template: str, **content: Any) -> None:
    """Fill in a template and write it, whole or not at all; all text is escaped.

    Args:
        path: Missing folders are made.
        template: A file of `templates`.
        **content: What the template names.
    """
    write_text(path, render(template, **content))


def render(template: str, **content: Any) -> str:
    """A template filled in; all text is escaped.

    Args:
        template: A file of `templates`.
        **content: What the template names.
    """
    return str(_environment().get_template(template).render(**content))


@cache
def vendored(name: str) -> Any:
    """A file of `vendor` as it is, for a template to include without escaping."""
    from markupsafe import Markup

    text = (files("seg_prior.report") / "vendor" / name).read_text(encoding="utf-8")
    # Neither would end the element that holds it.
    assert "</script" not in text, name
    assert "-->" not in text, name
    return Markup(text)


@cache
def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("seg_prior.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
