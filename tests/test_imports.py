"""The direction of imports: downwards only, and HTTP in its places only."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import primesvc

ROOT = Path(primesvc.__file__).parent

LAYERS = (
    "errors", "states", "numbers", "logs", "repeated", "thread", "client", "sieve", "settings",
    "formats", "compute", "budget", "store", "collect", "kinds", "jobs", "results", "lookups",
    "runtime", "service", "asking", "web", "app", "connections", "server", "cli", "__main__",
)  # fmt: skip
"""The parts of the package from the bottom up: each may import those before it."""

ALLOWED = {
    "aiocache": {"store", "runtime", "service", "app"},
    "aiohttp": {"client", "web", "app", "connections", "server"},
    "anyio": {"asking"},
    "backports": {"formats"},
    "cachetools": {"store"},
    "compression": {"formats"},
    "flint": {"sieve"},
    "gmpy2": {"sieve"},
    "isal": {"formats"},
    "markdown_it": {"web"},
    "multidict": {"web"},
    "numpy": {
        "client",
        "sieve",
        "formats",
        "compute",
        "store",
        "collect",
        "results",
        "lookups",
        "service",
        "asking",
    },
    "prometheus_client": {"web"},
    "tqdm": {"cli"},
    "uvloop": {"server"},
    "werkzeug": {"web"},
    "yarl": {"client"},
}
"""Who may import which library; nobody imports another one.

`backports` is `backports.zstd`, and `compression` the standard library's from Python 3.14 on.
"""


def module_name(path: Path) -> str:
    """The dotted name of a module of the package."""
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}
# The package itself only hands names on, to those who use it: nothing in it imports from there.
PARTS = {name: path for name, path in MODULES.items() if name != "primesvc"}

every_module = pytest.mark.parametrize("name", PARTS)


def imports(name: str) -> Iterator[str]:
    """The dotted names that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(MODULES[name].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports from a relative place"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in MODULES else str(node.module)


def layer(name: str) -> int:
    """How high up a module of the package stands."""
    return LAYERS.index(name.split(".")[1])


def test_every_part_of_the_package_has_its_place() -> None:
    """A new part is put in the order on purpose, and the order holds no part that is gone."""
    assert {name.split(".")[1] for name in PARTS} == set(LAYERS)


@every_module
def test_imports_point_downwards(name: str) -> None:
    """A module imports from its own part and from those below it, never from above."""
    for imported in imports(name):
        if imported.split(".")[0] == "primesvc":
            assert imported != "primesvc", f"{name} imports the package that it is a part of"
            assert layer(imported) <= layer(name), f"{name} imports {imported}"


def test_the_service_does_not_use_its_client() -> None:
    """The client stands beside the service: only those who ask either may use both."""
    users = {name.split(".")[1] for name in PARTS for used in imports(name) if is_client(used)}
    assert users <= {"client", "asking", "cli"}


def is_client(name: str) -> bool:
    """Whether a module belongs to the client."""
    return name.split(".")[:2] == ["primesvc", "client"]


def test_jobs_know_no_kind() -> None:
    """The life of a job is the same for all kinds: it knows their protocol and their catalog."""
    used = {
        imported
        for name in PARTS
        if name.startswith("primesvc.jobs.")
        for imported in imports(name)
    }
    kinds = {name for name in used if name.startswith("primesvc.kinds")}
    assert kinds == {"primesvc.kinds.base", "primesvc.kinds.catalog"}


def test_results_know_no_jobs() -> None:
    """What can be read is what was collected, whoever asked for it."""
    for name in PARTS:
        if name.startswith("primesvc.results."):
            assert not any(used.startswith("primesvc.jobs") for used in imports(name))


def test_no_modules_import_one_another() -> None:
    """Within a part too the modules can be put in an order."""
    graph = {name: set(imports(name)) & set(PARTS) for name in PARTS}
    assert list(TopologicalSorter(graph).static_order())


@every_module
def test_libraries_are_used_where_they_belong(name: str) -> None:
    """Only the HTTP face and the client know HTTP, and each other library has its place too."""
    for imported in imports(name):
        library = imported.split(".")[0]
        if library != "primesvc" and library not in sys.stdlib_module_names:
            assert name.split(".")[1] in ALLOWED.get(library, ()), f"{name} imports {library}"


def loaded_by(*names: str) -> set[str]:
    """What a new interpreter has loaded once it has imported these modules."""
    script = f"import sys, {', '.join(names)}; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60
    )
    return set(run.stdout.split())


def test_workers_load_nothing_they_do_not_need() -> None:
    """The worker side comes up without HTTP, the cache and the service."""
    loaded = loaded_by("primesvc.compute.worker")
    assert "primesvc.sieve.engine" in loaded
    unwanted = {"aiohttp", "aiocache", "uvloop", "primesvc.service", "primesvc.store.segments"}
    assert not unwanted & loaded


def test_the_command_line_loads_http_only_to_serve() -> None:
    """Help, a wrong flag and the worker processes, which import the main module, need no HTTP."""
    loaded = loaded_by("primesvc.cli.program", "primesvc.cli.parser", "primesvc.cli.commands")
    assert "primesvc.settings" in loaded
    assert not {"aiohttp", "primesvc.service"} & loaded


def test_the_client_loads_nothing_of_the_service() -> None:
    """A program that only asks a service elsewhere needs neither engines nor workers."""
    loaded = loaded_by("primesvc.client.client")
    assert "aiohttp" in loaded
    ours = {name.split(".")[1] for name in loaded if name.startswith("primesvc.")}
    assert ours <= {"client", "errors", "numbers", "states"}


def test_connecting_loads_what_it_needs() -> None:
    """The package loads nothing by itself, and `connect` neither HTTP nor a service until asked."""
    assert "anyio" not in loaded_by("primesvc")
    loaded = loaded_by("primesvc.asking.connect")
    assert "anyio" in loaded
    assert not {"aiohttp", "primesvc.service", "primesvc.client.client"} & loaded
