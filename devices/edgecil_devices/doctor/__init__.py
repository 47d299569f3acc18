"""The verb `doctor`: can this device run edgecil, and if not, what to do about it?

`machine` (with `edgecil_devices.limits`), `software`, `cameras` and `bundle` look at one thing each
and tell a `Finding`; `verb` has them look in turn. What may crash, onnxruntime on a processor that
it was not built for or a network without enough memory, runs in a process of its own.
"""
