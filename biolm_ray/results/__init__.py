"""Which results an output folder holds, of which run, and how they make room for others.

`manifest` reads and writes the record that reading trusts, `aside` moves what is replaced out of
the way.
"""
