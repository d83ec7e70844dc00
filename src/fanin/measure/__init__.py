"""One instrumented forward and backward: what every operation, parameter, input and the loss look like at step zero.

`record` holds the frozen data; one file a quantity in `quantities/`.
"""
