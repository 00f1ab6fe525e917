"""The documents that the command line prints as JSON, as aligned columns for people."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any


def unit_of(process: Mapping[str, Any]) -> str:
    """What a model's evaluations are, by its process.

    Args:
        process: as its `to_dict` has it.

    >>> unit_of({"tokens": 20}), unit_of({"steps": 10})
    ('tokens', 'denoiser evaluations')
    """
    return "tokens" if "tokens" in process else "denoiser evaluations"


def evaluations(number: int, process: Mapping[str, Any]) -> str:
    """A number of evaluations with what they are.

    >>> evaluations(1200, {"steps": 10}), evaluations(1200, {"tokens": 20})
    ('1,200 denoiser evaluations (NFE)', '1,200 tokens')
    """
    unit = unit_of(process)
    return f"{number:,} {unit}" + ("" if unit == "tokens" else " (NFE)")


def spent_row(document: dict[str, Any]) -> tuple[str, str, str, str]:
    """The last row of a table of numbers: what they cost."""
    if unit_of(document["process"]) == "tokens":
        return ("tokens", str(document["nfe"]), "", "read by the model")
    return ("NFE", str(document["nfe"]), "", "denoiser evaluations")


def score_table(document: dict[str, Any]) -> str:
    """The score of a pair and what it is made of, with standard errors where samples tell them."""
    writes = unit_of(document["process"]) == "tokens"
    rows = []
    for name, note in (_of_language if writes else _of_diffusion)(document).items():
        value = document.get(name)
        if value is not None:
            error = document["standard_error"][name]
            shown = "" if error is None else f"± {_number(error)}"
            rows.append((name.replace("_kl", " KL"), _number(value), shown, note))
    return table([*rows, spent_row(document)], align="<>< ")


def _of_diffusion(document: dict[str, Any]) -> dict[str, str]:
    """Names of a pair's numbers, and what they are."""
    normalised = document["measure"] == "normalised"
    weighting = document["process"]["weighting"]
    unit = "in nats" if weighting == "girsanov" else f"{weighting} weighting"
    return {
        "score": "(1+c)/2, 0 to 1" if normalised else "minus Jeffreys",
        "similarity": "c, cosine of the texts' directions, -1 to 1",
        "jeffreys": f"mean of both KL divergences, {unit}",
        "forward_kl": "along the first text's trajectories",
        "backward_kl": "along the second text's trajectories",
    }


def _of_language(document: dict[str, Any]) -> dict[str, str]:
    """Names of a pair's numbers, and what they are."""
    normalised = document["measure"] == "normalised"
    name, count = document["process"]["distance"], 2 * document["process"]["continuations"]
    falls = {"l1": f"exp(-distance/{count})", "l2": f"exp(-distance/√{count})"}
    falls |= dict.fromkeys(("linf", "symmetric_kl"), "exp(-distance)")
    return {
        "score": f"{falls.get(name, '1 - distance')}, 0 to 1" if normalised else "minus Jeffreys",
        "distance": f"{name}, of the log-probabilities of {counted(count, 'continuation')}",
        "jeffreys": "mean of both KL divergences, in nats",
        "forward_kl": "of what is said after the first text",
        "backward_kl": "of what is said after the second text",
    }


def ranking_table(document: dict[str, Any]) -> str:
    """The documents of a ranking, best first."""
    hits = [
        (str(hit["rank"]), _number(hit["score"]), harmless(hit["document"]))
        for hit in document["results"]
    ]
    return table([("rank", "score", "document"), *hits], align=">> ")


def models_table(document: dict[str, Any]) -> str:
    """The models that come with the package, the supported families, and how to name others."""
    embedded = [("embedded model", "kind", "size", "")]
    for model in document["embedded"]:
        size = f"{model['bytes'] / 1e6:.1f} MB" if model["present"] else ""
        where = "offline" if model["present"] else "not in this installation"
        embedded.append((model["name"], model["kind"], size, where))
    of_kind: dict[str, list[tuple[str, str]]] = {}
    for family in document["families"]:
        of_kind.setdefault(family["kind"], []).append((family["class"], family["models"]))
    refused = [(kind["models"], kind["why"]) for kind in document["refused"]]
    return "\n\n".join(
        (
            table(embedded, align="<<> "),
            table([("denoiser class", "models"), *of_kind["diffusion"]], align="< "),
            "Any diffusers text-to-image pipeline whose denoiser has one of these classes can be\n"
            "named: --model owner/name (on the Hugging Face hub), --model path/to/folder (that\n"
            "save_pretrained wrote) or --model path/to/file.safetensors.",
            table([("language model class", "models"), *of_kind["language"]], align="< "),
            "These are named by their id on the hub, such as --model gpt2, or by the folder that\n"
            "save_pretrained wrote of model and tokenizer.",
            table([("refused", ""), *refused], align="< "),
        )
    )


def table(rows: Sequence[Sequence[str]], align: str) -> str:
    """Rows as lines, columns two spaces apart.

    Args:
        rows: of equal length. A column that is empty throughout is left out.
        align: a character a column: "<" left, ">" right, " " as it is (for the last column).

    >>> print(table([("a", "1.5", "x"), ("bc", "10", "y")], align="<> "))
    a   1.5  x
    bc   10  y
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(align))]
    lines = []
    for row in rows:
        cells = [
            cell if side == " " else f"{cell:{side}{width}}"
            for cell, side, width in zip(row, align, widths, strict=True)
            if width
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def counted(number: int, noun: str) -> str:
    """A number with its noun in the right number.

    >>> counted(1, "pair"), counted(1200, "pair")
    ('1 pair', '1,200 pairs')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _number(value: float) -> str:
    """Four decimals, and three digits of what they would not show.

    >>> _number(12.34567), _number(0.0), _number(0.0000123)
    ('12.3457', '0.0000', '1.23e-05')
    """
    return f"{value:.4f}" if value == 0 or abs(value) >= 0.00005 else f"{value:.2e}"


def harmless(text: str) -> str:
    r"""A text of a file without the control characters that would move a terminal's cursor.

    >>> harmless("a\tcat\x1b[2J")
    'a cat [2J'
    """
    return "".join(" " if unicodedata.category(c) == "Cc" else c for c in text)
