"""`fanin.compare(build, (x, y), ...)` with tensors warned, which is an error in many test suites.

The batches copied their data with `torch.tensor(x)`. For an array that is right. For a tensor torch warns that
`clone().detach()` was meant. The guide's first example of a comparison found it.
"""

import numpy as np
import torch

from fanin.lab.training import accuracy, batches


def test_tensors_give_the_batches_of_arrays_and_stay_as_they_are():
    x, y = torch.eye(8, requires_grad=True), torch.arange(8)
    ours = next(batches(x, y, size=4, seed=0))  # a warning is an error here
    theirs = next(batches(np.eye(8, dtype=np.float32), np.arange(8), size=4, seed=0))
    assert all(map(torch.equal, ours, theirs))
    assert not ours[0].requires_grad
    ours[0].zero_()
    assert torch.equal(x, torch.eye(8))


def test_a_score_takes_tensors_too():
    assert accuracy(torch.nn.Identity(), torch.eye(3), torch.arange(3)) == 1.0


def test_another_seed_gives_another_batch():
    x, y = torch.arange(64.0), torch.arange(64)
    one, two = (next(batches(x, y, size=32, seed=seed))[0] for seed in (0, 1))
    assert not torch.equal(one, two)
