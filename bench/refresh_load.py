"""Plots what two schedulers make of 50,000 tokens that expire within ten minutes: `python -m bench.refresh_load`.

It runs the scenario of `tests/refresh/test_scheduler.py` (simulated clock, real Postgres, seeded) and writes
docs/refresh-load.svg. The numbers are those of the simulation, not of this machine.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from server.telemetry import log
from tests.refresh.load import BOUND, Curve, ten_minutes
from tests.refresh.simulation import SimulatedProvider, World, processes_of, simulated, template
from tests.support.postgres import Postgres

COUNT: Final = 50_000
TARGET: Final = Path(__file__).parents[1] / "docs" / "refresh-load.svg"
_WIDTH, _HEIGHT = 760, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 56, 44
_FIRST_MINUTE: Final = 25
_STEP: Final = 1000
_EXPIRIES, _REFRESHES, _INK, _GRID = "#c2410c", "#1d4ed8", "#374151", "#e5e7eb"


def measure(count: int) -> Curve:
    """Run the scenario on a Postgres of its own."""
    directory = Postgres.make_directory()
    postgres = Postgres(directory)
    try:
        with postgres.database() as url, simulated() as loop, tempfile.TemporaryDirectory() as folder:
            provider = SimulatedProvider(loop)
            world = World(loop, url, Path(folder), provider, template(provider, max_concurrency=BOUND))

            async def main() -> Curve:
                async with processes_of(world) as processes:
                    return await ten_minutes(world, processes, count)

            return loop.run_until_complete(main())
    finally:
        postgres.stop()


def plot(curve: Curve) -> str:
    """Return the curve as SVG."""
    minutes = len(curve.expiries) - _FIRST_MINUTE
    top = -(-max(*curve.expiries, *curve.refreshes) // _STEP) * _STEP
    x_step = (_WIDTH - _LEFT - _RIGHT) / minutes
    y_step = (_HEIGHT - _TOP - _BOTTOM) / top
    floor = _HEIGHT - _BOTTOM

    def bars(values: Sequence[int], colour: str) -> str:
        steps = "".join(
            f"V{floor - value * y_step:.1f}H{_LEFT + (place + 1) * x_step:.1f}"
            for place, value in enumerate(values[_FIRST_MINUTE:])
        )
        return f'<path d="M{_LEFT} {floor}{steps}V{floor}Z" fill="{colour}" fill-opacity="0.2" stroke="{colour}"/>'

    def label(x: float, y: float, text: str, anchor: str = "start", colour: str = _INK) -> str:
        return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{text}</text>'

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12">',
        f"<title>{curve.refreshed:,} refreshes by two schedulers, and when the tokens would have expired</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        label(_LEFT, 20, f"{curve.refreshed:,} tokens expire within ten minutes; per minute of simulated time:"),
        label(_LEFT, 38, f"refreshes by two schedulers, {curve.bound} at once together", colour=_REFRESHES),
        label(_LEFT + 300, 38, "expiries, had nobody refreshed", colour=_EXPIRIES),
    ]
    for value in range(0, top + 1, _STEP):
        y = floor - value * y_step
        lines.append(f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="{_GRID}"/>')
        lines.append(label(_LEFT - 8, y + 4, f"{value:,}", "end"))
    lines += [
        *(
            label(_LEFT + (minute - _FIRST_MINUTE) * x_step, floor + 18, str(minute), "middle")
            for minute in range(_FIRST_MINUTE, len(curve.expiries) + 1, 5)
        ),
        label(_WIDTH - _RIGHT, floor + 36, "minutes since the tokens were imported", "end"),
        bars(curve.refreshes, _REFRESHES),
        bars(curve.expiries, _EXPIRIES),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write the picture."""
    log.configure("error")
    curve = measure(COUNT)
    TARGET.write_text(plot(curve), encoding="utf-8")
    print(
        f"{curve.refreshed:,} refreshed, {curve.late} late, {curve.twice} twice, at most {curve.most_in_flight} of "
        f"{curve.bound} at once: {TARGET.name}"
    )


if __name__ == "__main__":
    main()
