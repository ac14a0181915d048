"""Which results an output folder holds, of which run, and how they make room for others.

`manifest` reads and writes the record that reading trusts, `contents` says what is worth keeping,
`aside` moves what is replaced out of the way, and `lock` keeps a second run from working there.
"""
