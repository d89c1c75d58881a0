"""Checks of the block ``pareto``, as far as names and numbers go."""

from collections.abc import Sequence

from fuxi_mtl.config.stanzas import Settings
from fuxi_mtl.options import ParetoSection
from fuxi_mtl.pareto import preferences_of


def check_pareto(settings: Settings, section: ParetoSection, objectives: Sequence[str]) -> None:
    """Preferences fit the objectives. Only a stanza that has the block is looked at.

    Raises:
        ConfigError: With what would work.
    """
    if section != ParetoSection():
        try:
            preferences_of(section.pareto, objectives)
        except ValueError as error:
            raise settings.error("pareto", f"pareto: {error}") from error
