"""What a weight scale does before anything runs: Gaussian moments, gains, signal maps, criticality, finite width.

Pure functions in float64 over plain callables; no framework is imported. Each says its formula, range, measured
accuracy and source. The effects of single operations (dropout, norms, pooling, attention, ...) are in
`fanin.theory.effects`.
"""

from __future__ import annotations

from fanin.theory.activations import Activation, activation, activation_names
from fanin.theory.bivariate import bivariate, bivariate_gap, bivariate_slope
from fanin.theory.callables import resolve
from fanin.theory.collapse import collapse_layer, dead_unit_share, variance_share
from fanin.theory.critical import CriticalPoint, KeptPoint, critical_line, critical_point, kept_point
from fanin.theory.depth import SignalCurves, propagate, propagate_law
from fanin.theory.depth_scales import DepthScales, depth_scales
from fanin.theory.finite_width import PairSpread, Spread, correlation_spread, kappa, log_q_var, spread
from fanin.theory.fixed_points import FixedPoint, c_star, q_star
from fanin.theory.gains import gain
from fanin.theory.isometry import Isometry, admits_isometry, isometry, jacobian_moments
from fanin.theory.laws import CLASSIC_LAWS, ClassicLaw, backward_var, classic_law, compromise_var, forward_var
from fanin.theory.maps import c_map, chi_1, chi_c, chi_q, gap_map, q_map
from fanin.theory.moments import Moments, gaussian_moments
from fanin.theory.saturation import Saturation, chebyshev_bound, exceedance, saturated_share, saturation_edge
from fanin.theory.shaping import ShapedActivation, dks, shifted, tat
from fanin.theory.symmetry import distinct_units, identical_pairs, most_distinct_units

__all__ = [
    "CLASSIC_LAWS",
    "Activation",
    "ClassicLaw",
    "CriticalPoint",
    "DepthScales",
    "FixedPoint",
    "Isometry",
    "KeptPoint",
    "Moments",
    "PairSpread",
    "Saturation",
    "ShapedActivation",
    "SignalCurves",
    "Spread",
    "activation",
    "activation_names",
    "admits_isometry",
    "backward_var",
    "bivariate",
    "bivariate_gap",
    "bivariate_slope",
    "c_map",
    "c_star",
    "chebyshev_bound",
    "chi_1",
    "chi_c",
    "chi_q",
    "classic_law",
    "collapse_layer",
    "compromise_var",
    "correlation_spread",
    "critical_line",
    "critical_point",
    "dead_unit_share",
    "depth_scales",
    "distinct_units",
    "dks",
    "exceedance",
    "forward_var",
    "gain",
    "gap_map",
    "gaussian_moments",
    "identical_pairs",
    "isometry",
    "jacobian_moments",
    "kappa",
    "kept_point",
    "log_q_var",
    "most_distinct_units",
    "propagate",
    "propagate_law",
    "q_map",
    "q_star",
    "resolve",
    "saturated_share",
    "saturation_edge",
    "shifted",
    "spread",
    "tat",
    "variance_share",
]
