"""What a default name resolves to: into the run folder, a view's work folder, or a scope's own folder."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from megatron_sbp.recipe import Recipe


@dataclass(frozen=True)
class Scope:
    """A part of a run folder with files of its own under the usual names: those of a synthesizer or a replicate."""

    prefix: str
    """Folder below the run folder."""
    patterns: tuple[str, ...]
    """Glob patterns of the names that lead there; a folder means all that is in it."""


@dataclass(frozen=True)
class Placed:
    """A recipe together with its run folder; subclasses say where each file is.

    A stage that replaces finished outputs works on a view (`view`) in which the paths that it owns lead to a work
    folder; all other paths are the run folder's. Manifests name files relative to the run folder.

    A stage of a further synthesizer or replicate works in scopes (`scoped`): it uses the usual names, and finds its
    own files under them, such as synthesizers/random/pairs/audit.json for pairs/audit.json.
    """

    recipe: Recipe
    root: Path
    work: Path | None = None
    """The work folder of a view."""
    owned: tuple[str, ...] = ()
    """Glob patterns below the run folder of what a view redirects; a folder means all that is in it."""
    scopes: tuple[Scope, ...] = ()
    """Applied one after another, each to the usual name: the prefixes of all that match are put in front."""

    def view(self, work: Path, owned: tuple[str, ...]) -> Self:
        """The same run with the paths in `owned` below `work`."""
        return replace(self, work=work, owned=owned)

    def scoped(self, recipe: Recipe, scopes: tuple[Scope, ...]) -> Self:
        """The same run folder as a stage in `scopes` sees it, with the recipe of that stage."""
        return replace(self, recipe=recipe, scopes=scopes)

    def named(self, usual: str) -> str:
        """The name below the run folder of a file, a folder or a glob pattern that is usually called `usual`."""
        return "".join(f"{scope.prefix}/" for scope in self.scopes if owns(scope.patterns, usual)) + usual

    def at(self, usual: str) -> Path:
        """Where the file or folder with the usual name `usual` is."""
        relative = self.named(usual)
        if self.work is not None and owns(self.owned, relative):
            return self.work / relative
        return self.root / relative

    def relative(self, path: Path) -> str:
        """A path as manifests write it: below the run folder."""
        base = self.root
        if self.work is not None and path.is_relative_to(self.work):
            base = self.work
        return path.relative_to(base).as_posix()


def owns(patterns: tuple[str, ...], relative: str) -> bool:
    """Whether a path below the run folder matches a pattern, or is inside a folder that does."""
    parts = relative.split("/")
    prefixes = ["/".join(parts[:length]) for length in range(1, len(parts) + 1)]
    return any(_matches(prefix, pattern) for pattern in patterns for prefix in prefixes)


def _matches(path: str, pattern: str) -> bool:
    names, globs = path.split("/"), pattern.split("/")
    return len(names) == len(globs) and all(map(fnmatch.fnmatchcase, names, globs))
