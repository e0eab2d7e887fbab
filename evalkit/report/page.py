"""The frame of an HTML page of ours: head, style, scripts, and a policy that lets nothing else run.

Style and scripts are files beside this module: page.css, sort.js, explorer.js and its details.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any


def page(title: str, body: str, scripts: Sequence[str] = ()) -> str:
    """A whole HTML document around `body`, which is HTML already; `title` is plain text.

    Its tables can be sorted. scripts: further files of this package that it runs, such as
    "explorer.js".
    """
    style = _file("page.css")
    script = '"use strict";\n' + "\n".join(map(_file, ("sort.js", *scripts)))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_policy(style, script)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{html.escape(title)}</title>
<style>{style}</style>
</head>
<body>
{body}
<script>{script}</script>
</body>
</html>
"""


def json_script(element_id: str, data: Any) -> str:
    """A block of data for scripts to read; no text in it can end the block or begin another."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    # In JSON these signs occur in strings alone, where their escape means the same.
    text = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return f'<script type="application/json" id="{element_id}">{text}</script>'


@cache
def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """The page may load nothing at all, and run no script or style but its own two: their digests
    are in the policy, so that not even markup that slipped through could run one."""
    return (
        "default-src 'none'; img-src data:; "
        f"style-src {_source(style)}; script-src {_source(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _source(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest())
    return f"'sha256-{digest.decode('ascii')}'"
