"""Denoisers: diffusion models of every kind behind one small interface.

`Denoiser` is the interface and `load` makes one from a model's name, folder, file or pipeline.
"""

from conjure_st.denoisers.loading import load
from conjure_st.denoisers.protocol import Conditioning, Denoiser, Sampler, stack
from conjure_st.denoisers.schedule import Schedule

__all__ = ["Conditioning", "Denoiser", "Sampler", "Schedule", "load", "stack"]
