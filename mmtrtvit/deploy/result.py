"""Result of a deployment."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .export.to_onnx import Exported
from .measure.speed import Speed
from .verify.agreement import Agreement
from .verify.compare import Difference, agree
from .verify.peaks import Peaks
from .verify.search import Search


@dataclass(frozen=True)
class Comparison:
    """A file against PyTorch.

    Attributes:
        differences: How far each kind of output is apart.
        agreement: How much of what one side finds the other finds, where more than rounding of
            single precision lies between them; None where nothing may differ but by that.
        images: Drawn predictions.
    """

    differences: Sequence[Difference]
    agreement: Agreement | None = None
    images: Sequence[Path] = ()


@dataclass
class DeployResult:
    """What came out.

    Attributes:
        onnx: The ONNX file.
        exported: Its size, before slimming too.
        built: The backend's own file; None if it runs the ONNX file, or none could be built here.
        product: What such a file is called.
        comparisons: Each file against PyTorch, by name; empty if not verified.
        agreements: The same for each file of lower precision; all others have to be PyTorch's but
            for rounding.
        peaks: The largest values of a file of half precision; None if not looked at.
        speed: Of a file of lower precision that its backend runs here; None if not measured.
        search: For the layers of an INT8 or FP8 file that stay in single precision; None if
            ``calib_config.max_drop`` asks for none.
        images: Drawn predictions.
        seconds: Time of each step.
        notes: What the user should know.
        not_built: Why there is no such file although one was asked for, and how to build it.
    """

    onnx: Path
    exported: Exported | None = None
    built: Path | None = None
    product: str = ''
    comparisons: dict[str, list[Difference]] = field(default_factory=dict)
    agreements: dict[str, Agreement] = field(default_factory=dict)
    peaks: Peaks | None = None
    speed: Speed | None = None
    search: Search | None = None
    images: list[Path] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    not_built: str = ''

    @property
    def differences(self) -> list[Difference]:
        """Those of all files."""
        return [each for rows in self.comparisons.values() for each in rows]

    @property
    def not_judged(self) -> list[str]:
        """Files of which nothing could be compared, as neither side finds anything."""
        return [
            name
            for name, rows in self.comparisons.items()
            if not (
                self.agreements[name].count
                if name in self.agreements
                else any(row.count or row.unmatched for row in rows)
            )
        ]

    @property
    def verified(self) -> bool:
        """Whether each file was compared, agrees, and holds all its values."""
        return not self.different and not (self.peaks and self.peaks.overflowing)

    @property
    def different(self) -> list[str]:
        """Files that differ by more than their precision explains, or were not compared."""
        return [
            name
            for name, rows in self.comparisons.items()
            if not (self.agreements[name].enough if name in self.agreements else agree(rows))
        ]

    def add(self, file: Path, comparison: Comparison) -> None:
        """Adds a comparison of a file."""
        rows = self.comparisons.get(file.name, [])
        self.comparisons[file.name] = [*rows, *comparison.differences]
        if comparison.agreement:
            self.agreements[file.name] = comparison.agreement
        self.images += [image for image in comparison.images if image not in self.images]
