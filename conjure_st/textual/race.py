"""Early stopping for language models: the best of many documents, not all scored to the end.

Successive halving, as `conjure_st.race` has it. All documents of a round are asked about the same
continuations of the query, and the numbers that draw their own are the same too, so that their
differences are paired. The first round looks at a few of the query's continuations alone: nothing
is sampled, and a document costs its prompt and what was said. Half of what a pair is told apart by
is missing there, so the next rounds take a few of the documents' own continuations in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from conjure_st.textual.continuations import Continuations
from conjure_st.textual.distances import distance, similarity
from conjure_st.textual.scorer import PAIRS_AT_ONCE, TextualScorer


class Round(NamedTuple):
    """What a round looks at, and how many documents go on.

    Attributes:
        of_query: continuations of the query, scored after every document.
        of_documents: of each document's own, scored after the query; 0 samples none.
        keep: documents.
    """

    of_query: int
    of_documents: int
    keep: int
