"""``python -m pipelines`` is the ``foretable`` command."""

from pipelines.cli import main

main()
