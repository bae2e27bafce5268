"""The table a run ends with."""

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


def show(rows: list[Row]) -> None:
    width = max(len(row.name) for row in rows)
    print(f"{'':{width}}  {'measured':>14}  {'target':>10}")
    for row in rows:
        target = "" if row.target is None else f"{'>=' if row.more else '<='} {row.target:g}"
        verdict = {None: "", True: "met", False: "MISSED"}[row.met]
        print(f"{row.name:{width}}  {row.value:>8.2f} {row.unit:<5}  {target:>10}  {verdict}".rstrip())
