"""What a page of the documents asks its reader to type."""

import re
from collections.abc import Iterator

FENCE = re.compile(r"^ *```(\w*)\s*$")


def shell_lines(text: str) -> Iterator[str]:
    """Return the lines of the shell blocks, without comments; blocks of other languages are none."""
    language: str | None = None
    for line in text.split("\n"):
        if fence := FENCE.match(line):
            language = fence[1] if language is None else None
        elif language in {"", "bash"}:
            yield re.split(r"\s+#", line.strip())[0].strip()
