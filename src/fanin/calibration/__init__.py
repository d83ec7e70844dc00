"""Calibration: one forward pass that measures every weighted operation and finds the factor that its weight lacks.

`calibrate` is the verb, `task` reads the model once for it, `run` is the order of work. In the pass (`forward`),
`operand` finds the weight of an operation, `statistic` measures its output, `target` says what that should be,
`judge` decides on one use, `rounds` on all uses of a pass and `reuse` on weights that are used again. `subject` is
what is known of a weight, `held` what the model holds of the plan, `write` changes the weights, `report` shows what
was done.
"""
