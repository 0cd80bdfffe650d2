"""The run's scale model: a small recipe with the graph, engines, flags, and file layouts of a large one.

`derive.derive` cuts the sizes and replaces what is missing, `writing.write` writes what the small recipe needs.
"""
