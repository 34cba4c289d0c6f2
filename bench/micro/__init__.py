"""Microbenchmarks of the path that every session takes."""
