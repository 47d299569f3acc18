"""Finished runs as one page: tables, plots, and published numbers beside them."""
