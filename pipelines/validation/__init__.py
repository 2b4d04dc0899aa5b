"""Raw files, checked before anything is read from them: bytes, form, columns, types, then content and history."""

from pipelines.validation.raw import CheckedFile, column_types, load_checks

__all__ = ["CheckedFile", "column_types", "load_checks"]
