"""A whole run on transcripts whose half-life is known."""
