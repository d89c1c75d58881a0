"""The Python interface: data, models and runs as objects, in the words of a stanza.

`import fuxi_mtl` offers the names; they lie here. Each function does what the command of its name does, by
the same code.
"""
