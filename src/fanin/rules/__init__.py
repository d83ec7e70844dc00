"""The rule book: one file a rule, a table that lists them, findings and the result of a check."""
