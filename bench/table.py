"""The table a run ends with."""

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    name: str
    value: float
    unit: str
    target: float | None
    more: bool = False
    """Whether more is better."""

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        return self.value >= self.target if self.more else self.value <= self.target


def calibration() -> float:
    """Milliseconds of a fixed piece of Python, the best of five: figures of two machines compare as these do."""

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


def show(rows: list[Row]) -> None:
    print(f"calibration: a million turns of a Python loop take {calibration():.1f} ms here")
    width = max(len(row.name) for row in rows)
    print(f"{'':{width}}  {'measured':>14}  {'target':>10}")
    for row in rows:
        target = "" if row.target is None else f"{'>=' if row.more else '<='} {row.target:g}"
        verdict = {None: "", True: "met", False: "MISSED"}[row.met]
        print(f"{row.name:{width}}  {row.value:>8.2f} {row.unit:<5}  {target:>10}  {verdict}".rstrip())
