"""A Keras model on the JAX backend: its program as a torch twin, and its variables written all or none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import torch

from fanin.integrations.jax.twin import model as twin_of
from fanin.integrations.keras.holder import KerasModule, as_tensor, modes, training_of, variables_of
from fanin.integrations.keras.holder import named as named_kind
from fanin.integrations.keras.write import assign_all
from fanin.model.first_step import set_first_step

__all__ = ["view_on_jax"]


def view_on_jax(model: Any, given: Sequence[Any] | None) -> tuple[torch.nn.Module, Any]:
    """The twin of the model and its inputs; without inputs only the parameters.

    Dropout is off in it and batch norms take the statistics of the batch, as at the first training step.
    """
    weights, states = variables_of(model)
    holder = named_kind(KerasModule, model)(model)
    if given is None:
        module: Any = holder
        inputs: Any = None
    else:
        arrays = jax.tree_util.tree_map(_as_array, tuple(given))
        module = twin_of(_function(model, holder, states), {v.path: v.value for v in weights}, *arrays)
        module.__class__ = named_kind(type(module), model)
        inputs = tuple(jax.tree_util.tree_map(as_tensor, one) for one in arrays)
        module._modules.update({n: p for n, p in holder._modules.items() if n in module._modules})
        flat = {v.path: module._parameters.pop(v.path) for v in weights if v.path in module._parameters}
        module._parameters.update(flat)  # in the order of the model, where JAX sorts
        for variable in weights:
            if not variable.trainable:
                module.get_parameter(variable.path).requires_grad_(False)
    module.stream_names = holder.stream_names
    module.give_back = _GiveBack(model, module)
    return module, inputs


class _GiveBack:
    """Write the numbers of a twin into its Keras model.

    An object and no closure: the twin runs no code of Keras, so what is put back after a pass of it need not be
    looked for in Keras, and the attributes of fanin's own objects are not.
    """

    def __init__(self, model: Any, module: torch.nn.Module) -> None:
        self.model, self.module = model, module

    def __call__(self) -> None:
        every = self.module.named_parameters(remove_duplicate=False)
        assign_all(self.model, {name: p.detach() for name, p in every})


def _function(model: Any, holder: KerasModule, states: Sequence[Any]) -> Any:
    set_first_step(holder)
    fixed = {v.path: v.value for v in states}

    def run(values: Any, *args: Any) -> Any:
        every = {**fixed, **values}
        trained = [every[v.path] for v in model.trainable_variables]
        others = [every[v.path] for v in model.non_trainable_variables]
        with modes(model, holder._modules):
            return model.stateless_call(trained, others, *args, **training_of(model, False))[0]

    return run


def _as_array(value: Any) -> Any:
    import jax.numpy as jnp

    return (
        jnp.asarray(value.numpy() if isinstance(value, torch.Tensor) else value) if hasattr(value, "dtype") else value
    )
