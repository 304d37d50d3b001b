"""What an arm says of its layers' rates: the name of a prescription, or alignment exponents of its own.

rates: full
rates: {name: mine, hidden: {alpha: 7/10, omega: 1/2, u: 3/5}, readout: full}
rates: {measured: small.sqlite, arm: standard-mid}     # read and replaced by the form above: see `measured_rates`
rates: {measured: given, arm: standard-mid}            # the same, once the study is run with a store
"""

from fractions import Fraction
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, StringConstraints, Tag

from widthwise.study.fields import Section, one_of
from widthwise.theory import ALIGNMENTS, PRESCRIPTIONS, Alignment, PerLayerAlignment, Prescription, Role


def _exact(value: object) -> object:
    """A fraction's text: 7/10 and 0.7 are the same number."""
    try:
        return str(Fraction(str(value)))
    except (ValueError, ZeroDivisionError) as error:
        raise ValueError(
            f"must be a fraction such as 7/10, or a decimal number (given: {value!r})"
        ) from error


Exact = Annotated[str, BeforeValidator(_exact)]


class ExponentsSpec(Section):
    """The three alignment exponents of a role."""

    alpha: Exact
    omega: Exact = "1/2"
    u: Exact


RoleAlignment = Annotated[
    Annotated[Annotated[str, one_of(ALIGNMENTS)], Tag("assumed-alignment")]
    | Annotated[ExponentsSpec, Tag("own-alignment")],
    Discriminator(lambda value: "assumed-alignment" if isinstance(value, str) else "own-alignment"),
]
"""`full`, `mid`, `none`, or a mapping of exponents."""


def _free(name: str) -> str:
    if name in PRESCRIPTIONS:
        raise ValueError(f"{name!r} is the name of a prescription; give another")
    return name


Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1), AfterValidator(_free)]


class RatesByRole(Section):
    """The largest stable rates under an alignment of its own for hidden layers and for the readout."""

    name: Name = "measured"
    hidden: RoleAlignment
    readout: RoleAlignment

    def __str__(self) -> str:
        return self.name

    @property
    def prescription(self) -> Prescription:
        """The prescription as the theory takes it."""
        layers = {Role.HIDDEN: self.hidden, Role.READOUT: self.readout}
        alignments = {role.value: _alignment(f"{self.name} at {role}", own) for role, own in layers.items()}
        return Prescription(self.name, PerLayerAlignment(self.name, alignments))


def _alignment(name: str, given: "str | ExponentsSpec") -> Alignment:
    if isinstance(given, str):
        return ALIGNMENTS[given]
    return Alignment(name, alpha=Fraction(given.alpha), omega=Fraction(given.omega), u=Fraction(given.u))


GIVEN = "given"
"""In the place of a store: it is named when the study is run."""


class OpenRates(Section):
    """The largest stable rates under alignment that is measured elsewhere, before the arm can be trained."""

    measured: Literal["given"]
    arm: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)] | None = None
    name: Name = "measured"
    weighting: str | None = None

    def __str__(self) -> str:
        return self.name

    @property
    def stand_in(self) -> RatesByRole:
        """Rates of that name for an estimate: a little above `mid`, such as no other arm has."""
        exponents = {"alpha": 0.75 + 2**-20, "u": 0.75 + 2**-20}
        return RatesByRole.model_validate({"name": self.name, "hidden": exponents, "readout": exponents})


def _kind(value: object) -> str:
    if isinstance(value, str):
        return "named-rates"
    given = isinstance(value, OpenRates) or (isinstance(value, dict) and "measured" in value)
    return "open-rates" if given else "rates-by-role"


RatesChoice = Annotated[
    Annotated[Annotated[str, one_of(PRESCRIPTIONS)], Tag("named-rates")]
    | Annotated[OpenRates, Tag("open-rates")]
    | Annotated[RatesByRole, Tag("rates-by-role")],
    Discriminator(_kind),
]


def prescription_of(choice: str | OpenRates | RatesByRole) -> Prescription:
    """The prescription that an arm's rates name or spell out; a stand-in where they are yet to be measured."""
    if isinstance(choice, str):
        return PRESCRIPTIONS[choice]
    return choice.stand_in.prescription if isinstance(choice, OpenRates) else choice.prescription
