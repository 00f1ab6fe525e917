"""Numbers for JSON, which has no NaN: an error from one sample, or c where it was not asked."""

from __future__ import annotations

import math
from typing import Any


def known(value: Any) -> Any:
    """The value, with None in place of NaN.

    Args:
        value: a number, or a list of such, nested or not. Anything else is left as it is.

    >>> known(float("nan")), known([0.5, float("nan")]), known(3)
    (None, [0.5, None], 3)
    """
    if isinstance(value, list):
        return [known(v) for v in value]
    return None if isinstance(value, float) and math.isnan(value) else value
