"""The mode in which a model is read: dropout off, batch norms on the statistics of the batch, as at the first step."""

from __future__ import annotations

import torch

__all__ = ["MORE_VALUES", "set_first_step"]

MORE_VALUES = "Expected more than 1 value per channel"  # what torch says where a batch norm has nothing to average


def set_first_step(model: torch.nn.Module, *, norms_train: bool = True, others: bool = True) -> None:
    """Set the flags of all modules; whoever calls it puts them back.

    Args:
        model: the model.
        norms_train: batch and instance norms take their statistics from the batch; else their running ones.
        others: turn all other modules (dropout) off; else they stay as they are.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.BatchNorm1d(4))
        >>> set_first_step(model)
        >>> [m.training for m in model]
        [False, True]
    """
    norms = (torch.nn.modules.batchnorm._BatchNorm, torch.nn.modules.instancenorm._InstanceNorm)
    for module in model.modules():
        norm = isinstance(module, norms) or getattr(module, "takes_batch_statistics", False) is True
        in_training = norms_train and norm and not isinstance(module, torch.nn.SyncBatchNorm)
        if module.training != in_training and (others or norm):
            module.training = in_training
