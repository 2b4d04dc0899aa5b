"""Raw files, checked before anything is read from them: bytes, form, columns, types, then the product's own checks."""

from pipelines.validation.raw import CheckedFile, Problem, read_raw

__all__ = ["CheckedFile", "Problem", "read_raw"]
