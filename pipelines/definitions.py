"""Dagster's way in: ``workspace.yaml`` names this module."""

from pipelines.defs import build_definitions

defs = build_definitions()
