"""The table a run ends with."""

import time
from dataclasses import dataclass, field


def calibration() -> float:
    """Milliseconds of a fixed piece of Python, the best of five: figures of two machines, and of one
    machine at two times, compare as these do."""

    def work() -> int:
        total = 0
        for number in range(1_000_000):
            total += number & 7
        return total

    spent = []
    for _ in range(5):
        begin = time.perf_counter()
        work()
        spent.append((time.perf_counter() - begin) * 1000)
    return min(spent)


@dataclass(frozen=True)
class Row:
    name: str
    value: float
    unit: str
    target: float | None
    more: bool = False
    """Whether more is better."""
    best: float | None = None
    """The best of what `value` is the middle of: what it would be if nobody else used the machine."""
    calibration: float = field(default_factory=calibration)
    """How fast the machine was right after this was measured: it may wander by half within minutes."""

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        return self.value >= self.target if self.more else self.value <= self.target


def show(rows: list[Row]) -> None:
    """Print the table; `calibration` is in milliseconds (see there), measured with each row."""
    width = max(len(row.name) for row in rows)
    print(f"{'':{width}}  {'measured':>14}  {'best':>8}  {'target':>8}  {'':6}  calibration")
    for row in rows:
        best = "" if row.best is None else f"{row.best:.2f}"
        target = "" if row.target is None else f"{'>=' if row.more else '<='} {row.target:g}"
        verdict = {None: "", True: "met", False: "MISSED"}[row.met]
        measured = f"{row.value:>8.2f} {row.unit:<5}"
        print(f"{row.name:{width}}  {measured}  {best:>8}  {target:>8}  {verdict:6}  {row.calibration:>11.1f}")
