"""The corpora are run by their own `check.py`, in processes of their own."""

collect_ignore = ["edits", "values"]
