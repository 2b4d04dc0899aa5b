"""Everything that reads a store over HTTP: predictions, explanations, the catalogue of tables, and their documentation."""
