"""One session at a venue, and the proofs that it did what was decided."""
