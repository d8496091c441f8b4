"""`klingel demo`: everything from nothing to a live board, or a bounded check of it."""
