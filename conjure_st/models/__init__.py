"""The embedded model: its pipeline class and, beside it, the folder of its weights."""
