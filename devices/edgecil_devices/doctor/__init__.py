"""The verb `doctor`: can this device run edgecil, and if not, what to do about it?

`machine`, `software` and `bundle` look at one thing each and tell a `Finding`; `verb` has them look
in turn.
"""
