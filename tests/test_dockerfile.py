"""The image, proved without a container engine.

The build stage is carried out in a bare directory: its COPY lines bring the only files there are, its RUN lines run as
they stand (with the prefix moved), and what they install is then used as the image's user would. One thing differs:
the packages of the lock are not downloaded but copied from the tests' own environment, which pip installed from a lock
with the same pins and hashes. pip is told to use no index, so whatever the lock lacks is missed here.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.server_process import KEYRING
from tests.support.strict import NOT_ROOT, PRIVATE_PYTHON

ROOT: Final = Path(__file__).resolve().parents[1]
PREFIX: Final = "/opt/connections"


@dataclass
class Stage:
    """One FROM and what follows it, as (instruction, rest of the line), continuations joined."""

    base: str
    lines: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        return [rest for name, rest in self.lines if name == instruction]

    def one(self, instruction: str) -> str:
        (found,) = self.all(instruction)
        return found

    def environment(self) -> dict[str, str]:
        pairs = [pair for rest in self.all("ENV") for pair in rest.split()]
        return dict(pair.split("=", 1) for pair in pairs)


def stages() -> list[Stage]:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    kept = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    found: list[Stage] = []
    for line in re.sub(r"\\\n\s*", "", kept).splitlines():
        if not line.strip():
            continue
        instruction, rest = line.split(maxsplit=1)
        if instruction == "FROM":
            found.append(Stage(rest))
        else:
            found[-1].lines.append((instruction, rest))
    return found


BUILD, FINAL = stages()


def locked() -> set[str]:
    """Return the names of the packages that the runtime lock installs on this platform."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    found = [Requirement(line.removesuffix("\\").strip()) for line in text.splitlines() if re.match(r"[\w.-]+==", line)]
    return {canonicalize_name(one.name) for one in found if one.marker is None or one.marker.evaluate()}


def copied_sources(stage: Stage) -> list[tuple[list[str], str]]:
    """Return the COPY lines that read from the project, as (sources, destination)."""
    return [(words[:-1], words[-1]) for words in (rest.split() for rest in stage.all("COPY")) if words[0][:2] != "--"]


def test_both_stages_have_the_same_base_by_tag() -> None:
    assert BUILD.base.split() == ["python:3.11-slim", "AS", "build"]
    assert FINAL.base == "python:3.11-slim"


def test_the_image_runs_the_command_in_exec_form_as_a_numbered_user() -> None:
    assert json.loads(FINAL.one("ENTRYPOINT")) == ["connections", "serve"]
    options, command = FINAL.one("HEALTHCHECK").split("CMD")
    assert json.loads(command)[:2] == ["connections", "healthcheck"]
    assert "--interval=" in options
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", FINAL.one("USER"))
    after_user = FINAL.lines[[name for name, _ in FINAL.lines].index("USER") :]
    assert not {"RUN", "COPY", "ADD"} & {name for name, _ in after_user}
    assert FINAL.environment()["PYTHONUNBUFFERED"] == "1"
    assert FINAL.environment()["PYTHONDONTWRITEBYTECODE"] == "1"


def test_the_second_stage_takes_only_the_environment() -> None:
    assert FINAL.one("COPY") == f"--from=build {PREFIX} {PREFIX}"
    assert not FINAL.all("ADD")
    assert f"{PREFIX}/bin" in FINAL.environment()["PATH"].split(":")


def test_everything_is_installed_from_the_lock() -> None:
    first, second = (rest for rest in BUILD.all("RUN") if "pip install" in rest)
    assert "--require-hashes -r requirements.lock" in first
    assert {"--no-deps", "--no-build-isolation"} <= set(second.split())


def test_nothing_secret_or_elsewhere_is_named() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"^ARG|KEYRING|DATABASE_URL|--index", text, re.MULTILINE)


def test_the_builder_is_sent_what_is_copied_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    sent = {rule[1:] for rule in rules if rule.startswith("!")}
    assert sent == {source for sources, _ in copied_sources(BUILD) for source in sources}
    assert all((ROOT / name).exists() for name in sent)


@dataclass(frozen=True)
class Image:
    """What the build stage made: its directory, the interpreter it was made with, and the environment of the image."""

    prefix: Path
    shared: bool
    environment: dict[str, str]

    def run(self, *command: str, user: int | None = None, **settings: str) -> subprocess.CompletedProcess[str]:
        data = self.prefix.parent / "var"
        return subprocess.run(
            [self.prefix / "bin" / command[0], *command[1:]],
            cwd=data,
            env={**self.environment, "CONNECTIONS_DATA_DIR": str(data), **settings},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )


def may_be_run_by_others(program: Path) -> bool:
    real = program.resolve()
    return all(parent.stat().st_mode & 0o001 for parent in [real, *real.parents])


def choose_python() -> tuple[Path, bool]:
    """Return an interpreter of this version, if possible one that other users may run, and whether they may."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    own = Path(sys.base_prefix) / "bin" / name
    for candidate in (own, Path("/usr/local/bin") / name, Path("/usr/bin") / name):
        if candidate.exists() and may_be_run_by_others(candidate):
            has_venv = subprocess.run([candidate, "-c", "import ensurepip, venv"], capture_output=True, check=False)
            if has_venv.returncode == 0:
                return candidate, True
    return own, False


def bring_locked_packages(site_packages: Path) -> None:
    """Put the packages of the lock, and no others, where pip would install them."""
    for leftover in ("setuptools", "pkg_resources", "_distutils_hack", "setuptools-*", "distutils-precedence.pth"):
        for path in site_packages.glob(leftover):  # older Pythons put their own setuptools into a new environment
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in locked():
        for file in importlib.metadata.distribution(name).files or ():
            source, target = Path(str(file.locate())), site_packages / file
            if ".." not in file.parts and "__pycache__" not in file.parts and source.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)


def carry_out(stage: Stage, work: Path, python: Path) -> None:
    source, prefix = work / "src", work / "opt"
    source.mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(work),
        "PIP_NO_INDEX": "1",
        "PIP_CONFIG_FILE": os.devnull,
        **stage.environment(),
    }
    for instruction, rest in stage.lines:
        if instruction == "COPY":
            *sources, destination = rest.split()
            for name in sources:
                if (ROOT / name).is_dir():
                    shutil.copytree(ROOT / name, source / destination, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy2(ROOT / name, source / destination / name)
        elif instruction == "RUN":
            command = re.sub(r"^python ", f"{python} ", rest).replace(PREFIX, str(prefix))
            done = subprocess.run(
                ["/bin/sh", "-c", command], cwd=source, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{rest}\n{done.stdout}\n{done.stderr}"
            if "-m venv" in rest:
                (site_packages,) = (prefix / "lib").glob("python*/site-packages")
                bring_locked_packages(site_packages)


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    work = Path(tempfile.mkdtemp(prefix="cxn-image-", dir="/tmp"))
    try:
        work.chmod(0o755)
        python, shared = choose_python()
        carry_out(BUILD, work, python)
        environment = FINAL.environment()
        environment["PATH"] = f"{work / 'opt' / 'bin'}:/usr/bin:/bin"
        data = work / "var"
        data.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(data, uid(), uid())
        yield Image(work / "opt", shared, environment)
    finally:
        shutil.rmtree(work)


def uid() -> int:
    return int(FINAL.one("USER").split(":")[0])


@pytest.mark.timeout(120)
def test_the_image_has_every_file_of_the_service(image: Image) -> None:
    (site_packages,) = (image.prefix / "lib").glob("python*/site-packages")
    wanted = {path.relative_to(ROOT) for path in (ROOT / "server").rglob("*") if path.is_file()}
    wanted |= {path.relative_to(ROOT / "generated") for path in (ROOT / "generated" / "connections").rglob("*.py")}
    missing = {path for path in wanted if not (site_packages / path).exists() and "__pycache__" not in path.parts}
    assert missing == set()
    assert not [*site_packages.glob("tests*"), *site_packages.glob("bench*")]


def test_the_image_needs_no_package_of_development(image: Image) -> None:
    done = image.run("python", "-m", "pip", "--disable-pip-version-check", "list", "--format=json")
    names = {canonicalize_name(package["name"]) for package in json.loads(done.stdout)}
    assert names == locked() | {"connections", "pip"}
    assert image.run("python", "-m", "pip", "check").returncode == 0


def test_the_command_answers(image: Image) -> None:
    done = image.run("connections", "--version")
    assert done.returncode == 0, done.stderr
    assert tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"] in done.stdout


def test_the_image_s_settings_are_valid(image: Image) -> None:
    done = image.run(
        "connections", "check-config", CONNECTIONS_DATABASE_URL="postgresql://db/x", CONNECTIONS_KEYRING=KEYRING
    )
    assert done.returncode == 0, done.stderr


def test_the_server_s_modules_need_nothing_else(image: Image) -> None:
    """A package of the development lock that a server module imports would be missing in the image."""
    done = image.run("python", "-c", "import server.app")
    assert done.returncode == 0, done.stderr


def test_the_image_s_user_can_run_it_and_not_change_it(image: Image) -> None:
    if os.geteuid() != 0:
        pytest.skip(NOT_ROOT)
    if not image.shared:
        pytest.skip(PRIVATE_PYTHON)
    done = image.run("connections", "check-config", user=uid())
    assert done.returncode == 0, done.stderr
    who = image.run("python", "-c", "import os; print(os.getuid(), os.access('.', os.W_OK))", user=uid())
    assert who.stdout.split() == [str(uid()), "True"]
    assert (
        "PermissionError" in image.run("python", "-c", "import server; open(server.__file__, 'a')", user=uid()).stderr
    )
