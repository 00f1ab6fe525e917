"""Where a benchmark's figures go: looked at before hours are spent on them."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from pathlib import Path

from conjure_st.whole_file import check_place


def check(
    parser: argparse.ArgumentParser, path: Path | None, suffixes: Collection[str] = (".json",)
) -> None:
    """Ends the script with a sentence, unless a file can be written there or none is asked for."""
    if path is None:
        return
    try:
        check_place(path, suffixes)
    except (ValueError, OSError) as error:
        parser.error(str(error))
