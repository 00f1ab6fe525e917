"""Search captions by what they look like: embed them once, then every query is one embedding.

pip install faiss-cpu
python examples/search.py
python examples/search.py "something to eat" "an animal that flies"

With the embedded diffusion model: no network, no GPU. The second run finds the captions' embeddings
in the cache and evaluates the queries alone.
"""

from __future__ import annotations

import argparse
import time

import diffusers
import faiss
import transformers
from sentence_transformers.util import semantic_search

from conjure_st import ConjureSentenceTransformer, GenerativeProcess

for library in (transformers, diffusers):  # a bar for every file of a model, and hints
    library.utils.logging.set_verbosity_error()
    library.utils.logging.disable_progress_bar()

CAPTIONS = [
    "A man rides a horse on the beach.",
    "Two brown horses stand in a field.",
    "A cow is eating grass.",
    "A herd of sheep on a green hill.",
    "A dog is running in the snow.",
    "A puppy sleeps on a couch.",
    "A black and white cat sits on a window sill.",
    "A kitten is playing with a ball.",
    "A bird is sitting on a branch.",
    "A seagull flies over the sea.",
    "An airplane is flying in the blue sky.",
    "A red car is parked on the street.",
    "A yellow taxi in a busy city.",
    "A double-decker bus drives through the city.",
    "A train is standing at the station.",
    "A steam locomotive on the tracks.",
    "A sailboat on the ocean.",
    "A wooden boat lies on the shore of a lake.",
    "A child is riding a bicycle.",
    "A motorcycle is parked in front of a house.",
    "A pizza with cheese and tomatoes on a plate.",
    "A bowl of fruit on the kitchen table.",
    "A slice of chocolate cake.",
    "A woman is cutting vegetables.",
    "A man is playing the guitar on a stage.",
    "A woman plays the violin.",
    "Children are playing football on a field.",
    "A skier goes down a snowy mountain.",
    "A surfer on a big wave.",
    "A living room with a sofa and a television.",
    "A bed with white sheets in a small bedroom.",
    "A vase of flowers on a table.",
]
QUERIES = ["a puppy in the snow", "a boat at sea", "a locomotive", "food on a table"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("query", nargs="*", default=QUERIES)
    queries = parser.parse_args().query
    model = ConjureSentenceTransformer(process=GenerativeProcess(samples=1), dimension=1024)
    print(f"{len(CAPTIONS)} captions: {model.cost(CAPTIONS)} denoiser evaluations")
    began = time.monotonic()
    corpus = model.encode(CAPTIONS, normalize_embeddings=True)
    wanted = model.encode(queries, normalize_embeddings=True)

    index = faiss.IndexFlatIP(model.get_embedding_dimension())  # of unit vectors: the cosine
    index.add(corpus)
    scores, numbers = index.search(wanted, 3)
    for query, found, values in zip(queries, numbers, scores, strict=True):
        print(f"\n{query}")
        for number, score in zip(found, values, strict=True):
            print(f" {score:5.2f}  {CAPTIONS[number]}")

    hits = semantic_search(wanted, corpus, top_k=3)
    same = [[hit["corpus_id"] for hit in found] for found in hits] == numbers.tolist()
    print(f"\nsemantic_search of sentence-transformers finds {'the same' if same else 'others'}.")
    print(f"{model.embedder.nfe} evaluations in {time.monotonic() - began:.1f} s.")


if __name__ == "__main__":
    main()
