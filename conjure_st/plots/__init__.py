"""Pictures of results: every function takes a result and a matplotlib axis and returns the axis.

Nothing is computed here that is not on the page, and no denoiser is asked. Who passes no axis
gets a new figure at a page's width.
"""
