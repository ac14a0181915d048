"""Whole blocks of sequences at once, without a Python step to a token.

Everything here gives, row by row, what the definitions for one sequence give: `atomic.read_tokens`,
`kmer.frame_kmers` and `Tokenizer.encode`.
"""
