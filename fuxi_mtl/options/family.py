"""Families: tables of the classes that a stanza may choose from, such as weightings or errors.

A member is a class or a function. Its docstring is its sentence, and the parameters behind the star of its
signature are its own options, which may stand in the stanza that chooses it. A row names it by where it
lies, so that the table is known without importing TensorFlow; a decorator adds one of a user's own::

    WEIGHTINGS = Family("weighting", "loss_weight", {"GN": "fuxi_mtl.weighting.gradnorm:GradNorm"})

    @WEIGHTINGS.register
    class MyWeighting(Weighting): ...
"""

import importlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from fuxi_mtl.hints import did_you_mean
from fuxi_mtl.options.signature import Parameter, Signature, read_doc, read_signature, signature_of

Target = TypeVar("Target", bound=Callable)
OWN = " One of your own comes with --models and its file."
_PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Member:
    """One row of a family.

    Attributes:
        name: As a stanza has it.
        target: The class or function, or ``module:name`` of one of this package; None for nothing, which
            is a choice, too. What lies in another package has neither sentence nor options here.
        has_options: Whether what stands behind the star of its signature are keys of a stanza.
    """

    name: str
    target: Any
    has_options: bool = True

    @cached_property
    def signature(self) -> Signature:
        """Its sentence and its options, read from the source where it is not imported yet."""
        if self.target is None:
            return Signature("None of them.")
        if not isinstance(self.target, str):
            return signature_of(self.target)
        name, (package, *folders) = self.target.partition(":")[2], self.module.split(".")
        if package != _PACKAGE.name:
            return Signature(f"{package.capitalize()}'s {name}.")
        file = _PACKAGE.joinpath(*folders).with_suffix(".py")
        return read_signature(file, name) if self.has_options else Signature(read_doc(file, name))

    @property
    def module(self) -> str:
        """Where it lies."""
        if isinstance(self.target, str):
            return self.target.partition(":")[0]
        return __name__ if self.target is None else self.target.__module__

    @property
    def summary(self) -> str:
        """One sentence for people."""
        return self.signature.summary

    @property
    def options(self) -> Mapping[str, Parameter]:
        """Its own options by their keys."""
        return self.signature.options if self.has_options else {}

    def load(self) -> Any:
        """The class or function."""
        if not isinstance(self.target, str):
            return self.target
        return getattr(importlib.import_module(self.module), self.target.partition(":")[2])

    def make(self, options: Mapping[str, Any], **given: Any) -> Any:
        """An object of the class, or the function with its options.

        Args:
            options: Values by key; those of other members are left out.
            **given: What stands before the star; what the signature does not ask for is left out.
        """
        target = self.load()
        if target is None:
            return None
        own = {key: value for key, value in options.items() if key in self.options}
        if not inspect.isclass(target):
            return partial(target, **own) if own else target
        asked = signature_of(target).given
        return target(**{name: value for name, value in given.items() if name in asked}, **own)


class Family:
    """A table of members by name, in the order of its rows; iterating gives the names.

    Args:
        what: What a member is, for messages: ``weighting``.
        key: The key of a stanza that chooses one.
        rows: ``module:name`` by the name in a stanza.
        given: What a member is given before the star of its signature: by name to a class, which need not
            ask for all of it, in this order to a function. None: something that this module does not check.
        also: What else than a name may be chosen, in words.
        has_options: Whether what stands behind the star of its members' signatures are keys of a stanza.
        in_block: Whether these stand in a block with the ``type``, not flat in the stanza.
    """

    known: "list[Family]" = []  # noqa: RUF012  (every family there is)

    def __init__(
        self,
        what: str,
        key: str,
        rows: Mapping[str, str | None],
        given: Iterable[str] | None = None,
        also: Iterable[str] = (),
        has_options: bool = True,
        in_block: bool = False,
    ):
        self.what, self.key = what, key
        self.given, self.also = None if given is None else tuple(given), tuple(also)
        self.has_options, self.in_block = has_options, in_block
        self._members = {name: Member(name, target, has_options) for name, target in rows.items()}
        Family.known.append(self)

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def __getitem__(self, name: str) -> Member:
        """The member of that name.

        Raises:
            ValueError: There is none; the message has the nearest name and all names.
        """
        if name not in self._members:
            raise ValueError(self.unknown(name))
        return self._members[name]

    @property
    def plural(self) -> str:
        """What members are."""
        return f"{self.what[:-1]}ies" if self.what.endswith("y") else f"{self.what}s"

    @property
    def members(self) -> tuple[Member, ...]:
        """All members."""
        return tuple(self._members.values())

    def keys(self) -> dict[str, str]:
        """The options of all members, each with the first member that has it."""
        return {key: each.name for each in reversed(self.members) for key in each.options}

    def owners(self, key: str) -> list[str]:
        """Names of the members with that option."""
        return [each.name for each in self.members if key in each.options]

    def unknown(self, name: Any) -> str:
        """That there is no such member, with the nearest name and all names."""
        choices = ", ".join((*self, *self.also))
        guess = did_you_mean(name, self)
        return f"no {self.what} is called {name!r}.{guess} Use {choices}.{'' if guess else OWN}"

    def register(self, target: Target) -> Target:
        """Class or function decorator: makes it known under its own name.

        Raises:
            ValueError: Another one has that name already, or the signature asks for what nothing gives.
        """
        name = target.__name__
        known = self._members.get(name)
        if known is not None and known.module != target.__module__:
            raise ValueError(
                f"two {self.plural} are called {name}: {known.module} and {target.__module__}. Rename one."
            )
        member = Member(name, target, self.has_options)
        if self.given is not None and not self._fits(member, self.given):
            given = f"{name}({', '.join(member.signature.given)})"
            what = "asks by name for some of" if inspect.isclass(target) else "is called with"
            raise ValueError(
                f"{given}: a {self.what} {what} {', '.join(self.given)}. Its options stand behind a star."
            )
        self._members[name] = member
        return target

    @staticmethod
    def _fits(member: Member, given: tuple[str, ...]) -> bool:
        """Whether what is given is what the target asks for."""
        if inspect.isclass(member.target):
            return set(member.signature.given) <= set(given)
        try:
            inspect.signature(member.target).bind(*given, **dict.fromkeys(member.options))
        except TypeError:
            return False
        return True

    def registered_by(self, modules: Iterable[str]) -> list[str]:
        """Names of the members that some modules have registered."""
        return [
            each.name for each in self.members if not isinstance(each.target, str) and each.module in modules
        ]


class Names:
    """The names in several families: the choices of an option, those registered later among them."""

    def __init__(self, *families: Family):
        self.families = families

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(self.families)

    def __len__(self) -> int:
        return sum(map(len, self.families))

    def __contains__(self, name: object) -> bool:
        return any(name in family for family in self.families)
