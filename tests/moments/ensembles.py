"""Ensembles of real torch networks, to hold predicted moments against."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from fanin.graph.recording.capture import capture
from fanin.graph.recording.replay import run_all
from fanin.moments import JointMoments, WeightMoments, propagate
from fanin.moments.kernel import sample


@dataclass(frozen=True)
class Ensemble:
    """Kernels of one tensor over many networks: (draws, 2, ..., 2), and its means."""

    kernels: np.ndarray
    means: np.ndarray

    def assert_agrees(
        self, predicted: JointMoments, *, bias: float = 0.0, z: float = 5.0, mean_bias: float = 0.0
    ) -> None:
        """Every kind of pair within z standard errors and a stated bias (relative to the second moment)."""
        got, second = self.kernels.mean(0), self.kernels.mean(0)[(1,) * (self.kernels.ndim - 1)]
        error = self.kernels.std(0, ddof=1) / math.sqrt(len(self.kernels))
        assert predicted.kernel.shape == got.shape, f"axes {predicted.sizes} do not match the measured {got.shape}"
        off = np.abs(predicted.kernel - got) - z * error - bias * second
        worst = np.unravel_index(off.argmax(), off.shape)
        assert off.max() <= 0.0, (
            f"pairs {worst}: predicted {predicted.kernel[worst]:.5g}, measured {got[worst]:.5g} +- "
            f"{error[worst]:.2g}, second moment {second:.4g}"
        )
        mean_error = self.means.std(ddof=1) / math.sqrt(len(self.means))
        assert abs(predicted.mean - self.means.mean()) <= z * mean_error + mean_bias * math.sqrt(second) + 1e-9


def laws_of(model: torch.nn.Module, std: float | None = None) -> dict[str, WeightMoments]:
    """Matrices N(0, 1 / fan_in), vectors N(0, 0.1) about their present mean."""
    out = {}
    for name, p in model.named_parameters():
        if p.ndim >= 2:
            fan_in = p[0].numel() if std is None else 1.0
            out[name] = WeightMoments(var=1.0 / fan_in if std is None else std**2)
        else:
            out[name] = WeightMoments(var=0.1, mean=float(p.detach().mean().round()))
    return out


def draw(moments: JointMoments, rng: np.random.Generator) -> torch.Tensor:
    field = moments.mean + sample(moments.covariance, moments.sizes, rng).reshape(moments.shape)
    return torch.from_numpy(field).float()


def measured_kernel(tensor: torch.Tensor, like: JointMoments) -> np.ndarray:
    from fanin.moments.kernel import measure

    return measure(tensor.detach().double().numpy().reshape(like.sizes))


def forward_case(model, inputs, given, *, draws=150, seed=0, weight_factor=1.0, laws=None):
    """Predicted moments of the model's output, and those of an ensemble of drawn networks on drawn inputs."""
    graph = capture(model, inputs)
    laws = laws_of(model) if laws is None else laws
    by_value = dict(zip(graph.inputs, given, strict=True))
    by_value = {v: m for v, m in by_value.items() if m is not None}
    moments = propagate(graph, laws, by_value or "example")
    target = graph.outputs[0].value
    predicted = moments[target].moments
    rng = np.random.default_rng(seed)
    kernels, means = [], []
    for _ in range(draws):
        leaves = {p.value: draw(laws[n].to_moments(p.shape), rng) * weight_factor for n, p in graph.parameters.items()}
        leaves |= {v: draw(m, rng) for v, m in by_value.items()}
        with torch.no_grad():
            out = next(iter(run_all(graph, leaves).values()))
        kernels.append(measured_kernel(out, predicted))
        means.append(float(out.double().mean()))
    return predicted, moments[target].provenance, Ensemble(np.stack(kernels), np.array(means))


def backward_case(model, inputs, given, *, draws=150, seed=0, wrt=0, cotangent_factor=1.0):
    """Predicted moments of the gradient of an input under a white cotangent, and those of an ensemble."""
    graph = capture(model, inputs)
    laws = laws_of(model)
    by_value = {v: m for v, m in zip(graph.inputs, given, strict=True) if m is not None}
    moments = propagate(graph, laws, by_value or "example", cotangent="unit")
    source = graph.inputs[wrt]
    predicted = moments[source].gradient
    assert predicted is not None, moments.notes
    rng = np.random.default_rng(seed)
    kernels, means = [], []
    for _ in range(draws):
        leaves = {p.value: draw(laws[n].to_moments(p.shape), rng) for n, p in graph.parameters.items()}
        leaves |= {v: draw(m, rng).requires_grad_() for v, m in by_value.items()}
        out = next(iter(run_all(graph, leaves).values()))
        noise = torch.from_numpy(rng.standard_normal(out.shape)).float() * cotangent_factor
        (g,) = torch.autograd.grad(out, leaves[source], noise)
        kernels.append(measured_kernel(g, predicted))
        means.append(float(g.double().mean()))
    return predicted, moments[source].gradient_provenance, Ensemble(np.stack(kernels), np.array(means))
