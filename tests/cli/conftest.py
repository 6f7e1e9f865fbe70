"""A small acquisition on disk, a pipeline file, and ways to type commands."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner

from latticework.cli.commands import commands

PIPELINE = """\
from scipy.ndimage import median_filter

import latticework as lw

GAIN = 2


def doubled(tile, *, of=GAIN):
    return helper(tile, of)


def helper(tile, of):
    return tile * of


def brightest(tile):
    return {"counts": float(tile.max())}


def pipeline(project):
    smooth = project.add(median_filter, name="smooth", size=3, overlap=1)
    twice = project.add(doubled, after=smooth)
    project.add(brightest, after=twice)
"""

FRAGILE = """\
import latticework as lw


def fragile(tile):
    if tile.tile_y == 1 and tile.tile_x == 2:
        raise ValueError("there is a bubble in this tile")
    return tile + 1


def mean(tile):
    return float(tile.mean())


def total(table):
    return float(table["value"].sum())


def pipeline(project):
    project.add(fragile, retries=0)
    project.add(mean, after="fragile")
    project.add(total, after="mean", reads=lw.all_tiles())
"""


@pytest.fixture
def acquisition(tmp_path):
    """2 x 3 tiles of 16 x 20 pixels, in a folder whose name is not easy."""
    folder = tmp_path / "Größe 7 µm"
    folder.mkdir()
    for n in range(6):
        pixels = np.arange(320, dtype="u2").reshape(16, 20) + 1000 * n
        tifffile.imwrite(folder / f"tile{n + 1}.tif", pixels)
    return folder


@pytest.fixture
def pipeline_file(tmp_path):
    file = tmp_path / "my pipeline.py"
    file.write_text(PIPELINE)
    return file


@pytest.fixture
def fragile_file(tmp_path):
    file = tmp_path / "fragile.py"
    file.write_text(FRAGILE)
    return file


@pytest.fixture
def project_folder(tmp_path):
    return tmp_path / "Gehirn eins.lw"


@pytest.fixture
def typed():
    """Type a command; the result, after a look at its exit code."""

    def type_command(*words, code=0):
        result = CliRunner().invoke(commands, [str(word) for word in words])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result.output

    return type_command


@pytest.fixture
def made(typed, acquisition, project_folder):
    """Make a project with a pipeline file."""

    def make(file=None):
        more = () if file is None else ("--pipeline", file)
        typed("init", acquisition, project_folder, "--grid", "2x3", "--overlap", "4", *more)
        return project_folder

    return make


@pytest.fixture
def scheduler(local_client):
    """Options of ``run`` that use the session's cluster."""
    return ("--scheduler", local_client.scheduler.address, "--progress", "none")


@pytest.fixture
def shell(tmp_path):
    """Start commands in processes of their own; what still runs in the end is ended."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "100"}
    environment["PYTHONUNBUFFERED"] = "1"
    started = []

    def start(*words, stdout=subprocess.PIPE):
        process = subprocess.Popen(
            [sys.executable, "-m", "latticework", *map(str, words)],
            cwd=tmp_path,
            env=environment,
            text=True,
            stdout=stdout,
            stderr=subprocess.STDOUT,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
