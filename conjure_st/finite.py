"""What is said when a network's output is not finite."""

from __future__ import annotations


class NotFiniteError(ValueError):
    """The model's output for a text, maybe along another's trajectory, is NaN or infinite."""

    def __init__(self, text: str, pair: tuple[str, str] | None = None) -> None:
        place = f"the text {text!r}" + (f" in the pair {pair!r}" if pair else "")
        super().__init__(
            f"The model's output for {place} has NaN or infinite values. In half precision this "
            'is often overflow: try dtype="bfloat16" or "float32".'
        )
        self.text = text
        self.pair = pair

    def __reduce__(self) -> tuple[type[NotFiniteError], tuple[str, tuple[str, str] | None]]:
        """From one process to another by what it was made of, not by its message."""
        return type(self), (self.text, self.pair)
