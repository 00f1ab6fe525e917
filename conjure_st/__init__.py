"""conjure-st: semantic similarity of texts from the images that they conjure."""
