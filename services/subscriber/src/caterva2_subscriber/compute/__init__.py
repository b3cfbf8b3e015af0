"""Expressions over datasets: a small language of our own, evaluated block by block with numpy.

Nothing that a user writes is ever handed to `eval`, `exec`, numexpr or Blosc2 (U1): text becomes a tree of the few
kinds of nodes in `language`, and the tree is all that is evaluated.
"""
