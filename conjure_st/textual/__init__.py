"""Textual trajectories: what a language model says after a text, in place of what it draws.

*Meaning Representations from Trajectories in Autoregressive Models* (Liu et al., ICLR 2024).
"""
