"""The page in which the content of a file is shown: styles of our own, and a policy that allows nothing else."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from html import escape

from pygments.formatters import HtmlFormatter

_STYLE = """
:root { color-scheme: light; --text: #131a24; --soft: #4b5766; --line: #d9dfe7; --back: #fff; --code: #f1f4f8; }
.dark { color-scheme: dark; --text: #e8edf4; --soft: #a5b2c2; --line: #2a3543; --back: #151c26; --code: #1e2733; }
.dark { --link: #7db6ff; }
body { margin: 0; padding: 26px clamp(16px, 5vw, 56px); background: var(--back); color: var(--text); }
body { font: 15px/1.6 system-ui, sans-serif; }
main { max-width: 900px; margin: 0 auto; }
main.wide { max-width: none; margin: 0; }
a { color: var(--link, #1d5bb8); }
h1, h2 { border-bottom: 1px solid var(--line); padding-bottom: 5px; line-height: 1.25; }
pre, code { font: 13px/1.5 ui-monospace, Menlo, Consolas, monospace; }
pre { margin: 0 0 14px; padding: 12px 14px; border-radius: 7px; background: var(--code); overflow-x: auto; }
code { padding: 1px 4px; border-radius: 4px; background: var(--code); }
pre code { padding: 0; background: none; }
table { border-collapse: collapse; }
th, td { padding: 5px 11px; border: 1px solid var(--line); text-align: left; }
th { background: var(--code); }
blockquote { margin: 0; padding-left: 14px; border-left: 3px solid var(--line); color: var(--soft); }
img { max-width: 100%; }
.note { padding: 9px 13px; border-radius: 7px; background: var(--code); color: var(--soft); }
.cell { display: grid; grid-template-columns: 66px minmax(0, 1fr); margin-bottom: 10px; }
.prompt { color: var(--soft); font: 12px/2.4 ui-monospace, monospace; }
.output pre { background: none; border: 1px solid var(--line); }
"""


@cache
def style() -> str:
    """Return the style sheet of every page."""
    light: str = HtmlFormatter(style="default").get_style_defs("body:not(.dark) .highlight")
    dark: str = HtmlFormatter(style="github-dark").get_style_defs("body.dark .highlight")
    plain = "body .highlight { background: var(--code); }\n"
    return _STYLE + light + "\n" + dark + "\n" + plain


@cache
def policy() -> str:
    """Return the content security policy of a page: the style above, pictures inside of the page, no more."""
    digest = base64.b64encode(hashlib.sha256(style().encode()).digest()).decode()
    return (
        f"sandbox; default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'self'"
    )


def page(title: str, body: str, *, dark: bool, wide: bool = False) -> bytes:
    """Return a whole page. `body` is HTML that was made or sanitised here; the title is escaped."""
    classes = "dark" if dark else ""
    width = "wide" if wide else ""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<style>{style()}</style></head><body class="{classes}"><main class="{width}">{body}</main></body></html>'
    ).encode()
