"""Files that people look at can do nothing to them."""

from __future__ import annotations

import base64
import json

import pytest

from caterva2_subscriber.preview import render
from caterva2_subscriber.preview.page import page, policy

HOSTILE = [
    "<script>alert(1)</script>",
    '<img src=x onerror="alert(1)">',
    "[click](javascript:alert(1))",
    '<a href="data:text/html,<script>alert(1)</script>">x</a>',
    '<iframe src="https://example.org"></iframe>',
    '<svg onload="alert(1)"></svg>',
    '<style>body { background: url("https://example.org/x") }</style>',
    "![spy](https://example.org/pixel.png)",
    '<form action="https://example.org"><input name="password"></form>',
    '<meta http-equiv="refresh" content="0;url=https://example.org">',
]
ACTIVE = (
    "<script",
    "onerror",
    "onload",
    '="javascript:',
    "<iframe",
    "<svg",
    "<style",
    "<form",
    "<meta",
    '="data:text',
)


@pytest.mark.parametrize("text", HOSTILE)
def test_s12_markdown_can_neither_act_nor_fetch(text: str) -> None:
    html = render.markdown(f"before\n\n{text}\n\nafter").lower()
    assert not [part for part in ACTIVE if part in html]
    assert 'src="http' not in html
    assert "before" in html
    assert "after" in html


def test_markdown_is_what_people_wrote() -> None:
    html = render.markdown("# Title\n\n| a | b |\n|---|---|\n| 1 | **2** |\n\n[link](https://example.org)")
    assert "<h1>Title</h1>" in html
    assert "<strong>2</strong>" in html
    assert 'href="https://example.org"' in html


def test_s12_outputs_of_a_notebook_are_sanitised() -> None:
    picture = base64.b64encode(b"\x89PNG").decode()
    cells = [
        {"cell_type": "markdown", "source": ["# Analysis\n", "<script>x</script>"]},
        {
            "cell_type": "code",
            "execution_count": 3,
            "source": "print('a < b')",
            "outputs": [
                {"output_type": "stream", "text": ["<b>plain</b>"]},
                {"output_type": "display_data", "data": {"text/html": "<table><tr><td onclick=x>1</td></tr></table>"}},
                {"output_type": "display_data", "data": {"image/png": picture}},
                {"output_type": "display_data", "data": {"image/png": '"><script>x</script>'}},
                {"output_type": "error", "traceback": ["\x1b[31mValueError\x1b[0m: <i>"]},
            ],
        },
    ]
    html = render.notebook(json.dumps({"nbformat": 4, "cells": cells}))
    assert "<h1>Analysis</h1>" in html
    assert "In [3]:" in html
    assert "&lt;b&gt;plain" in html
    assert "<td>1</td>" in html
    assert f"data:image/png;base64,{picture}" in html
    assert "ValueError: &lt;i&gt;" in html
    assert "<script" not in html
    assert "onclick" not in html


@pytest.mark.parametrize("text", ["", "[]", "{", '{"cells": 3}', '{"cells": [3, null]}', "[" * 100_000])
def test_what_is_no_notebook_is_said_to_be_none(text: str) -> None:
    assert "note" in render.notebook(text)


def test_tables_and_programs_are_escaped() -> None:
    assert render.table("a,b\n<script>,2\n", ",").count("<td>") == 2
    assert "<script>" not in render.table("a,b\n<script>,2\n", ",")
    assert "<script>" not in render.code("x = '<script>'", "x.py")
    assert "<script>" not in render.formatted_json('{"a": "<script>"}')
    assert "not valid" in render.formatted_json("{")


def test_a14_the_page_of_a_file_allows_no_code_and_no_other_address() -> None:
    assert "sandbox;" in policy()
    assert "default-src 'none'" in policy()
    assert "unsafe" not in policy()
    assert "script-src" not in policy()
    assert b"<title>&lt;/title&gt;" in page("</title>", "", dark=True)
