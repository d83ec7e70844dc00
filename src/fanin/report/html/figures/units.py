"""How often each unit of each rectifier is active."""

from __future__ import annotations

from collections.abc import Sequence

from fanin.measure.record import Site
from fanin.report.html.axes import DepthAxis
from fanin.report.html.charts.cells import NUM_SHADES, Rows, column_map, shade, shade_key
from fanin.report.html.figures.common import Figure, axis_of, label, some
from fanin.text.numbers import count, share

__all__ = ["unit_activity"]


def unit_activity(sites: Sequence[Site], axis: DepthAxis) -> Figure | None:
    """Units of each rectifier, sorted by the share of inputs that switch them on."""
    shown = [place for place, site in enumerate(sites) if site.activity and site.activity.active]
    if not shown:
        return None
    quantiles = [sites[place].activity for place in shown]
    actives = [activity.active for activity in quantiles if activity]
    num = max(len(active) for active in actives)
    chosen = [sites[place] for place in shown]
    return Figure(
        id="units",
        caption="Units of each rectifier, the least active at the bottom",
        drawing=column_map(
            {
                "units": [[shade(value) for value in active] for active in actives],
                "dead": [[NUM_SHADES if value == 0 else 0 for value in active] for active in actives],
            },
            axis_of(chosen, axis, sites),
            Rows(num=num, labels=((0.0, "0 %"), (num / 2, "50 %"), (float(num), "100 %")), title="units, sorted"),
            id_="units",
            title="Share of inputs for which a unit is active",
            description="One column a rectifier, its units sorted; the darker the more often active, red is never.",
        ),
        key=shade_key("units", "active for few inputs", "for all", apart=("dead", "never active")),
        rows=(
            ("layer", "units", "samples", "never active", "expected"),
            *(_unit_row(site) for site in some(chosen)),
        ),
    )


def _unit_row(site: Site) -> tuple[str, ...]:
    activity = site.activity
    if activity is None:
        return (label(site), "", "", "", "")
    shares = (share(activity.dead_share), share(activity.expected_dead_share))
    return (label(site), count(activity.num_units), count(activity.num_samples), *shares)
