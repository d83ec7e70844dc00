"""Calibration: one forward pass that measures every weighted operation and finds the factor that its weight lacks.

`operand` finds the weight of an operation, `forward` runs the model with factors on the outputs, `statistic` measures
them, `target` says what they should be, `judge` decides on one use, `reuse` on weights that are used again, `write`
changes the weights, `report` shows what was done; `calibrate` is the verb.
"""
