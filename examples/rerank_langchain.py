"""Rerank documents in LangChain, with its own CrossEncoderReranker.

pip install conjure-st langchain-classic langchain-community
python examples/rerank_langchain.py

With the embedded diffusion model: no network, no GPU.
"""

from __future__ import annotations

import tempfile

from langchain_classic.retrievers.document_compressors import CrossEncoderReranker
from langchain_community.cross_encoders import HuggingFaceCrossEncoder
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import Document

from conjure_st import ConjureCrossEncoder, GenerativeProcess

QUERY = "a puppy in the snow"
DOCUMENTS = [
    "a guitar in the living room",
    "a puppy on the beach",
    "a dog on a snowy field",
    "a bus in the city",
    "a cat in the snow",
]


class Imagery(BaseCrossEncoder):
    """A model in memory, as LangChain's interface. It needs neither a folder nor community."""

    def __init__(self, model: ConjureCrossEncoder) -> None:
        self.model = model

    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        return [float(score) for score in self.model.predict(text_pairs)]


def main() -> None:
    model = ConjureCrossEncoder(process=GenerativeProcess.preset("fast"))
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)  # or: conjure-st export FOLDER --preset fast
        named = HuggingFaceCrossEncoder(model_name=folder, model_kwargs={"trust_remote_code": True})
    documents = [Document(page_content=text) for text in DOCUMENTS]
    for title, scorer in [("From a folder", named), ("From memory", Imagery(model))]:
        reranker = CrossEncoderReranker(model=scorer, top_n=3)
        print(f"{title}: what is most like {QUERY!r}?")
        for place, document in enumerate(reranker.compress_documents(documents, QUERY), 1):
            print(f" {place}.  {document.page_content}")


if __name__ == "__main__":
    main()
