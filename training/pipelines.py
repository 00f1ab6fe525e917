"""A pipeline on disk: opened, or what is wrong with its path said; written whole, or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

from conjure_st.models.pipeline import PicturebookPipeline


def opened(folder: Path) -> PicturebookPipeline:
    """The pipeline of a folder.

    Raises:
        FileNotFoundError: the folder holds none.
    """
    # diffusers takes a path that is not there for the name of a model on the hub
    if not (folder / "model_index.json").is_file():
        raise FileNotFoundError(
            f"{folder} is no pipeline's folder: it has no model_index.json. Pass the one that "
            "train.py wrote (runs/picturebook/pipeline), or conjure_st/models/picturebook."
        )
    return PicturebookPipeline.from_pretrained(folder)


def save(pipe: PicturebookPipeline, folder: Path) -> None:
    """Put a pipeline into a folder, in place of what is there.

    It is written beside it and renamed, so that a folder of that name is whole, whenever a run is
    killed or a disk full.
    """
    unfinished = folder.with_name(f"unfinished-{folder.name}")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was killed
    pipe.save_pretrained(unfinished, safe_serialization=True)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
