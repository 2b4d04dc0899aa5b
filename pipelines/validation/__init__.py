"""Raw files, checked before anything is read from them: bytes, form, columns, types, then the product's own checks."""

from pipelines.validation.parse import Problem
from pipelines.validation.raw import CheckedFile, column_types, load_checks, read_raw

__all__ = ["CheckedFile", "Problem", "column_types", "load_checks", "read_raw"]
