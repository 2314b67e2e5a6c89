"""From a call to a table: the journal, resume, orchestration, results."""
